// Prompts to the sentence encoder's tokens: BERT's WordPiece, from the exported tokenizer.json.

const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/u;
const CHINESE = /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;
const LONGEST = 100; // characters of a word that is looked up

export class Words {
  /** `tokenizer` is the file's contents, `length` how many tokens the network reads. */
  constructor(tokenizer, length) {
    this.vocabulary = new Map(Object.entries(tokenizer.model.vocab));
    this.length = length;
    const special = tokenizer.added_tokens.map((token) => token.content);
    this.special = new Set(special);
    const escaped = special.map((token) => token.replace(/[[\]]/g, "\\$&"));
    this.cut = new RegExp(`(${escaped.join("|")})`);
  }

  /** The tokens that are read, the mark of the end always last; and how many are not. */
  read(prompt) {
    const ids = [this.vocabulary.get("[CLS]")];
    for (const part of prompt.split(this.cut)) {
      if (this.special.has(part)) ids.push(this.vocabulary.get(part));
      else for (const word of split(normalized(part))) ids.push(...this.pieces(word));
    }
    const kept = ids.slice(0, this.length - 1);
    return { ids: [...kept, this.vocabulary.get("[SEP]")], dropped: ids.length - kept.length };
  }

  /** The longest beginning that is in the vocabulary, then the same of the rest. */
  pieces(word) {
    const letters = [...word], found = [], unknown = [this.vocabulary.get("[UNK]")];
    if (letters.length > LONGEST) return unknown;
    let start = 0;
    while (start < letters.length) {
      let end = letters.length, id;
      for (; end > start; end--) {
        id = this.vocabulary.get((start ? "##" : "") + letters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (end === start) return unknown;
      found.push(id);
      start = end;
    }
    return found;
  }
}

/** Without control characters, accents and capitals; Chinese characters stand alone. */
function normalized(text) {
  const clean = text.replace(/[\t\n\r]/g, " ").replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\ufffd]/gu, "");
  const bare = clean.replace(CHINESE, " $& ").normalize("NFD").replace(/\p{Mn}/gu, "");
  return Array.from(bare, (letter) => letter.toLowerCase()).join("");
}

/** At spaces, and around each mark of punctuation. */
function split(text) {
  const spaced = Array.from(text, (letter) => (PUNCTUATION.test(letter) ? ` ${letter} ` : letter));
  return spaced.join("").split(/\s+/).filter(Boolean);
}
