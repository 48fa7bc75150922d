"""`piqa COMMAND ...`: one program for all commands; `piqa fit` is `python -m piqa.fit`."""

import sys
from importlib import import_module

from piqa.errors import import_without_collecting, one_line_errors

COMMANDS = {
    "prepare": "prepare images once: decode them, detect faces, compute LIQE logits",
    "pretrain": "train the backbones on LSVQ videos and GFIQA faces",
    "fit": "train a model to score images, and test it",
    "distil": "train a light network by the scores of a teacher",
    "evaluate": "measure models or CSVs of predictions against subjective scores",
    "predict": "score images or folders of images",
    "compare": "tell which of two or more devices takes the better portraits, as a report or as a gate",
    "export": "write a model as a file for ONNX Runtime, OpenVINO or TorchScript, and check it",
    "explain": "say what makes the quality of portraits, as a report to read",
    "pick": "find the best shot of each moment in a folder of portraits",
    "serve": "score, explain, compare and judge portraits in a browser, or by REST",
    "personalise": "fine-tune a model on each user's ratings, and measure how well it learns their taste",
    "scale": "turn judgements of people, pairs or ratings, into scores that a model is trained on",
    "models": "list published models by name, fetch or publish one, check a precision",
}
# `piqa.models` are the networks. An action of a command may have a module of its own.
ELSEWHERE = {"models": "piqa.weights.command", "models check": "piqa.check_precision"}
ELSEWHERE |= {"models push": "piqa.weights.push"}


def module_of(command: str) -> str:
    """Return the module whose `main` is a command."""
    return ELSEWHERE.get(command, f"piqa.{command}")


def main() -> None:
    """Run the command that the first argument names with the other arguments."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        import_without_collecting()
        words = 3 if " ".join(sys.argv[1:3]) in ELSEWHERE else 2
        import_module(module_of(" ".join(sys.argv[1:words]))).main(sys.argv[words:])
        return
    usage = "\n".join(["usage: piqa COMMAND [--help] ...", "", *(f"  {k:13}{v}" for k, v in COMMANDS.items())])
    if name in ("-h", "--help"):
        with one_line_errors():
            print(usage)
        return
    print(f"piqa: error: there is no command '{name}'; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
