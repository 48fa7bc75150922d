"""Focus: how sharp the subject is, how much more blurred what is behind it, and whether depth of field is shallow.

Nothing is trained. The blur of an edge is measured by blurring it once more: the gradient of an edge with blur sigma
falls by R = sqrt(1 + sigma0^2 / sigma^2), so that sigma = sigma0 / sqrt(R^2 - 1).

Zhuo and Sim, "Defocus map estimation from a single image", Pattern Recognition 44 (2011).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError
from piqa.models.contract import Arguments, ScoringModule, is_traced
from piqa.models.light import luminance
from piqa.models.pixels import as_unit_floats

SIGMA0, TAPS = 1.0, 7  # px, of the blur that is added, as in the paper
SHARPEST = 0.3  # px: what is sharper cannot be told from it
BLUREST = 1 / 20  # of the short side: likewise; a subject without edges has this blur
LEAST_STEP = 2e-3  # of linear light a pixel: smaller gradients are noise [own rule]
STRONGEST = 0.25  # fraction of a region's edges that count: the strongest [own rule]
ENOUGH = 20  # edge pixels that a region needs, or it has no value
SUBJECT, BACKGROUND = 0.6, 0.1  # of a mask: what lies between belongs to neither
SHALLOW_GAP, SHALLOW_BLUR = 1.0, 0.004  # log2, and of the short side [own rule]
DEPTHS = ("deep", "shallow", "unknown")
# The face in its box as the measured factors have it: semi-axes of an ellipse, and by how much hair and neck exceed it.
FACE_AXES, SURROUNDINGS = (0.42, 0.48), 1.7
BODY = 1.5  # widths of the face box on either side of its middle, from there downwards [own rule]
LEAST_FACE = 200  # pixels of the face that are seen, or it counts as none: fewer hold hardly ENOUGH edges [own rule]


class Focus(ScoringModule):
    """Blur of the subject and of the background, from re-blurred gradients.

    Where the subject is: in the face box, an ellipse, if a face was found; else where portraits have it, an upright
    ellipse above the middle. What lies right around the ellipse, and below it, counts as neither. Or what a network
    says.

    Args:
        subject: A network, asked in place of the face box, that takes float pixels in [0, 1], (images, 3,
            height, width), and returns where the subject is, or how near each place is, 0 to 1, (images, 1, height,
            width). A card names it by its import path, so that a model file with one is loaded only where its package
            is trusted.

    Raises:
        InputError: If it is exported.

    Examples:
        >>> outputs = Focus()(torch.rand(2, 3, 96, 64))
        >>> sorted(outputs)
        ['background_blur', 'depth_of_field', 'gap', 'score', 'subject_blur']
        >>> Focus.classes["depth_of_field"]
        ('deep', 'shallow', 'unknown')
    """

    inputs = ("whole", "face_box")
    classes = {"depth_of_field": DEPTHS}  # noqa: RUF012  (never changed)

    gaussian: Tensor

    def __init__(self, subject: nn.Module | None = None) -> None:
        super().__init__()
        self.subject = subject
        self.init_args = {} if subject is None else {"subject": _spec_of(subject)}
        offsets = torch.arange(TAPS) - TAPS // 2
        bell = torch.exp(-(offsets**2) / (2 * SIGMA0**2))
        # Kept in files of models, as one without any tensor is none.
        self.register_buffer("gaussian", (bell / bell.sum()).view(1, 1, TAPS, 1))

    def edge_blur(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the blur and the strength of each edge pixel.

        Args:
            pixels: Float in [0, 1], (images, 3, height, width).

        Returns:
            Blur (sigma, in pixels), and the gradient of linear light, which is 0 where there is no edge; both
            (images, 1, height, width).
        """
        light = luminance(pixels)
        rows = functional.conv2d(_bordered(light, (0, 0, TAPS // 2, TAPS // 2)), self.gaussian)
        again = functional.conv2d(_bordered(rows, (TAPS // 2, TAPS // 2, 0, 0)), self.gaussian.transpose(2, 3))
        (across, down), (across_again, down_again) = _gradient(light), _gradient(again)
        size, size_again = (across**2 + down**2).sqrt(), (across_again**2 + down_again**2).sqrt()
        # An edge is where the gradient is largest along its own direction.
        beside = functional.max_pool2d(size, (1, 3), stride=1, padding=(0, 1))
        above = functional.max_pool2d(size, (3, 1), stride=1, padding=(1, 0))
        ridge = torch.where(across.abs() >= down.abs(), size >= beside, size >= above) & (size >= LEAST_STEP)
        ratio = size / size_again.clamp(min=1e-9)
        most = BLUREST * min(pixels.shape[-2:])
        blur = SIGMA0 / (ratio**2 - 1).clamp(min=1e-6).sqrt()
        return blur.clamp(SHARPEST, max(SHARPEST, most)), size * ridge

    def mask(self, pixels: Tensor, face_box: Tensor | None = None) -> Tensor:
        """Return where the subject is, 0 to 1, (images, 1, height, width); arguments as of `forward`."""
        if self.subject is None:
            usual = _usual_place(pixels)
            if face_box is None:
                return usual
            faces = _place_of_faces(face_box, *pixels.shape[-2:])
            seen = (faces >= SUBJECT).sum(dim=(1, 2, 3), keepdim=True) >= LEAST_FACE
            return torch.where(seen, faces, usual)
        found: Tensor = self.subject(pixels)
        if found.shape != pixels[:, :1].shape:
            shapes = f"{tuple(found.shape)}; needed is {tuple(pixels[:, :1].shape)}"
            raise InputError(f"the `subject` network {type(self.subject).__name__} returns the shape {shapes}")
        return found.float()

    def forward(self, whole: Tensor, face_box: Tensor | None = None) -> dict[str, Tensor]:
        """Measure the focus of images.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, height, width), of any size.
            face_box: x1, y1, x2, y2 of the face as fractions of the image's sides, float, (images, 4), four zeros
                where there is none; None where none of the images has one.

        Returns:
            float32, (images,): `score`, minus log2 of the subject's blur in per cent of the short side, higher is
            sharper; `subject_blur` and `background_blur`, sigma as a fraction of the short side; `gap`, log2 of
            background over subject, positive where the subject is the sharper one; and `depth_of_field`, a class.
            Of a background with fewer than 20 edge pixels, blur and gap are NaN, and the class is `unknown`; a subject
            with fewer has the largest blur.

        Raises:
            InputError: If it is exported, or the `subject` network returns another shape than a mask's.
        """
        if is_traced():
            raise InputError(
                "Focus cannot be exported: its limits and the number of edges that count follow each image, and those "
                "of a graph are fixed; score with PyTorch, or without it measure `focus_gap` by `--factors true`"
            )
        pixels = as_unit_floats(whole)
        with torch.autocast(pixels.device.type, enabled=False):
            blur, strength = self.edge_blur(pixels)
            mask, side = self.mask(pixels, face_box), min(whole.shape[-2:])
            subject = _blur_of(blur, strength, mask >= SUBJECT) / side
            background = _blur_of(blur, strength, mask <= BACKGROUND) / side
        subject = torch.where(subject.isnan(), torch.full_like(subject, BLUREST), subject)
        gap = torch.log2(background / subject)
        shallow = (gap > SHALLOW_GAP) & (background > SHALLOW_BLUR)
        depth = torch.where(gap.isnan(), torch.full_like(shallow, 2, dtype=torch.int64), shallow.long())
        blurs = {"subject_blur": subject, "background_blur": background}
        return {"score": -torch.log2(100 * subject), **blurs, "gap": gap, "depth_of_field": depth}


def _blur_of(blur: Tensor, strength: Tensor, region: Tensor) -> Tensor:
    """Return the median blur of the strongest edges of a region, (images,); NaN where it has too few edges."""
    edges = (strength * region).flatten(1)
    count = (edges > 0).sum(dim=1)
    places = edges.argsort(dim=1, descending=True)
    taken = (count * STRONGEST).ceil().long().clamp(min=ENOUGH)
    counts = torch.arange(edges.shape[1], device=edges.device)[None] < torch.minimum(taken, count)[:, None]
    blurs = blur.flatten(1).gather(1, places).masked_fill(~counts, float("nan"))
    median = blurs.nanmedian(dim=1).values
    return torch.where(count >= ENOUGH, median, torch.full_like(median, float("nan")))


def _usual_place(pixels: Tensor) -> Tensor:
    """Return 1 in an ellipse above the middle, 0.5 below it, and 0 elsewhere."""
    height, width = pixels.shape[-2:]
    down = torch.linspace(0, 1, height, device=pixels.device)[:, None]
    across = torch.linspace(0, 1, width, device=pixels.device)[None, :]
    radius = ((across - 0.5) / 0.2) ** 2 + ((down - 0.42) / 0.25) ** 2
    body = (radius < 2) | ((down > 0.42) & ((across - 0.5).abs() < 0.4))
    mask = torch.where(radius <= 1, 1.0, torch.where(body, 0.5, 0.0))
    return mask.expand(len(pixels), 1, height, width)


def _place_of_faces(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return 1 in an ellipse in each box, 0.5 right around it and on the body below it, and 0 elsewhere."""
    left, top, right, bottom = (edge.view(-1, 1, 1, 1) for edge in boxes.float().unbind(dim=1))
    down = ((torch.arange(height, device=boxes.device) + 0.5) / height)[:, None] - (top + bottom) / 2
    across = ((torch.arange(width, device=boxes.device) + 0.5) / width)[None, :] - (left + right) / 2
    a, b = (axis * (end - start) for axis, start, end in zip(FACE_AXES, (left, top), (right, bottom), strict=True))
    radius = (across / a.clamp(min=1e-6)) ** 2 + (down / b.clamp(min=1e-6)) ** 2
    body = (radius <= SURROUNDINGS**2) | ((down > 0) & (across.abs() < BODY * (right - left)))
    return torch.where(radius <= 1, 1.0, torch.where(body, 0.5, 0.0))


def _gradient(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences across and down, same shape."""
    wider = _bordered(values, (1, 1, 1, 1))
    across = (wider[..., 1:-1, 2:] - wider[..., 1:-1, :-2]) / 2
    return across, (wider[..., 2:, 1:-1] - wider[..., :-2, 1:-1]) / 2


def _bordered(values: Tensor, by: tuple[int, int, int, int]) -> Tensor:
    return functional.pad(values, by, mode="replicate")


def _spec_of(network: nn.Module) -> Arguments:
    kind = type(network)
    arguments = getattr(network, "init_args", {})
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": dict(arguments)}
