"""Run the command line: ``python -m tbsclassify``."""

from tbsclassify.cli import main

if __name__ == "__main__":
    main()
