"""``python -m lightkern`` is the ``lightkern`` command."""

from .cli import main

if __name__ == "__main__":
    main()
