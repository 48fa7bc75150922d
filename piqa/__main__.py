"""`piqa COMMAND ...`: one name for all entry points; `piqa fit` is `python -m piqa.fit`."""

import sys
from importlib import import_module

COMMANDS = {
    "prepare": "decode images, find faces, compute LIQE logits, once",
    "pretrain": "train the backbones on LSVQ videos and GFIQA faces",
    "fit": "train a model to rank the portraits of a scene",
    "evaluate": "measure a model or a CSV of predictions against the experts' scores",
    "predict": "score images or folders of images",
    "personalise": "fine-tune a model on single people's ratings, and measure how well it learns their taste",
}


def main() -> None:
    """Hands the rest of the command line to the command that its first word names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        import_module(f"piqa.{name}").main(sys.argv[2:])
        return
    usage = "\n".join(["usage: piqa COMMAND [--help] ...", "", *(f"  {k:13}{v}" for k, v in COMMANDS.items())])
    if name in ("-h", "--help"):
        print(usage)
        return
    print(f"piqa: error: there is no command '{name}'; there are {', '.join(COMMANDS)}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
