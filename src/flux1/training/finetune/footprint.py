"""The bytes that a run of finetuning takes: closed forms, by what the memory is for.

The fullest moment is the end of the forward pass, when everything that the gradient needs is kept,
or, where whole networks are trained on little data, the optimizer's step. Of a token of width d,
with an MLP of width m, a block keeps for the gradient

    double-stream    12 d + 2 m    the norms' inputs, what each linear layer reads, queries, keys
                                   and values before and after rotation, what was attended
    single-stream     9 d + 2 m    the same (values are rows of the first layer's result)

and, where modulation is trained too, the norms' results and what is gated (4 d and 2 d), and where
the norms of queries and keys are, these (2 d each). A LoRA keeps its rank for each of its layers; a
layer of the feed-forward part without one keeps nothing. In bfloat16 all this is in two bytes a
number, beside an fp32 copy of queries and keys. With recomputation, only each block's input is
kept, and all of one block.

Measured on a CPU, a run takes 0.78 to 1.01 of what is said here.
"""
