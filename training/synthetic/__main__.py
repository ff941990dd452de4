"""Write procedural pairs: ``python -m training.synthetic``."""

from training.synthetic.render import main

if __name__ == "__main__":
    main()
