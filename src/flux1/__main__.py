"""`python -m flux1` is the `flux1` command."""

from flux1.cli.main import main

if __name__ == "__main__":
    main()
