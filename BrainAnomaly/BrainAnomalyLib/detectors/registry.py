"""Detectors by name. Adding a family is adding one file and one line here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OptionsError
from ..io.volumes import Contrast
from ..resources import resources_folder
from .protocol import Detector


class _Entry(NamedTuple):
    """Where a detector is: module, class, its embedded package (a folder under Resources/Models) if there is one, and
    whether it is trained or fitted on a folder of healthy scans."""

    module: str
    kind: str
    package: str = ""
    trained: bool = False


def _trained(module: str, kind: str, package: str = "") -> _Entry:
    return _Entry(module, f"{kind}Detector", package, trained=True)


_DETECTORS = {
    "histogram": _Entry("baselines.histogram", "HistogramDetector"),
    "tissue": _Entry("baselines.tissue", "TissueDetector"),
    "gaussian_mixture": _Entry("baselines.gaussian_mixture", "GaussianMixtureDetector"),
    "asymmetry": _Entry("baselines.asymmetry", "AsymmetryDetector"),
    "anatomy": _Entry("anatomy.anatomy", "AnatomyDetector"),
    "voxel_z_score": _trained("baselines.voxel_z_score", "VoxelZScore"),
    "principal_components": _trained("baselines.principal_components", "PrincipalComponents"),
    "denoising": _trained("families.self_supervised.denoising", "Denoising", "denoising_t1w"),
    "residual_autoencoder": _trained("families.autoencoders.residual_autoencoder", "ResidualAutoencoder"),
    "spatial_autoencoder": _trained("families.autoencoders.residual_autoencoder", "SpatialAutoencoder"),
    "skip_autoencoder": _trained("families.autoencoders.skip_autoencoder", "SkipAutoencoder"),
    "scale_space_autoencoder": _trained("families.autoencoders.scale_space_autoencoder", "ScaleSpaceAutoencoder"),
    "variational_autoencoder": _trained("families.variational.variational_autoencoder", "VariationalAutoencoder"),
    "context_autoencoder": _trained("families.variational.context_autoencoder", "ContextAutoencoder"),
    "mixture_autoencoder": _trained("families.variational.mixture_autoencoder", "MixtureAutoencoder"),
    "anovaegan": _trained("families.adversarial.anovaegan", "AnoVAEGAN"),
    "adversarial_autoencoder": _trained("families.adversarial.adversarial_autoencoder", "AdversarialAutoencoder"),
    "f_anogan": _trained("families.adversarial.f_anogan", "FAnoGAN"),
    "ganomaly": _trained("families.adversarial.ganomaly", "GANomaly"),
    "vq_transformer": _trained("families.variational.vq_transformer", "VQTransformer"),
    "simplex_diffusion": _trained("families.diffusion.simplex_diffusion", "SimplexDiffusion"),
    "conditioned_diffusion": _trained("families.diffusion.conditioned_diffusion", "ConditionedDiffusion"),
    "patched_diffusion": _trained("families.diffusion.patched_diffusion", "PatchedDiffusion"),
    "latent_diffusion": _trained("families.diffusion.latent_diffusion", "LatentDiffusion"),
    "foreign_patch": _trained("families.self_supervised.foreign_patch", "ForeignPatch"),
    "any_contrast": _trained("shipped.any_contrast", "AnyContrast", "any_contrast"),
    "combined": _Entry("shipped.combined", "CombinedDetector", "combined"),
}


# Detectors of earlier versions, and what took their place.
_REPLACED = {"combined_t1w": "combined"}


def detector_names() -> tuple[str, ...]:
    """Names that ``load_detector`` knows."""
    return tuple(_DETECTORS)


# The ready settings that every trainable detector has: trains without a graphics card, and as published.
PRESETS = ("small", "paper")


def trainable_names() -> tuple[str, ...]:
    """Names of the detectors that are trained or fitted on healthy scans."""
    return tuple(name for name, entry in _DETECTORS.items() if entry.trained)


def package_free_names() -> tuple[str, ...]:
    """Names of the detectors that need no package."""
    return tuple(name for name, entry in _DETECTORS.items() if not _needs_package(entry))


def detector_for(contrast: Contrast) -> str:
    """The detector that suits a contrast: all evidence together where the contrast is known, else anatomy alone."""
    return "anatomy" if contrast == "unknown" else "combined"


def replaced(name: str) -> tuple[str, str] | None:
    """What became of a detector of earlier versions and what to do, None for any other name."""
    if name not in _REPLACED:
        return None
    own = _REPLACED[name]
    remedy = f"Use '{own}', and calibrate its package again on your own healthy scans."
    return f"The detector '{name}' became part of '{own}'.", remedy


def embedded_folder(name: str) -> Path | None:
    """The embedded package of a detector, None where there is none."""
    folder = _DETECTORS[name].package
    return resources_folder() / "Models" / folder if folder else None


def load_detector(name: str, package: str | Path | None = None, device: str = "auto") -> Detector:
    """The detector of that name; one with a package from ``package`` (a folder) or the embedded one, on ``device``.

    ``device`` is auto, cpu, cuda or mps. Raises OptionsError for an unknown name, PackageError for a bad package.
    """
    kind: Any = detector_class_named(name)
    if not _needs_package(_DETECTORS[name]):
        return _without_package(kind, name, package, device)
    from ..packages.read import read_package

    detector: Detector = kind.from_package(read_package(package or _embedded(name)), device)
    return detector


def detector_class_named(name: str) -> type:
    """The class of that name. Raises OptionsError for an unknown one, and for one that another has replaced."""
    if (gone := replaced(name)) is not None:
        raise OptionsError(*gone)
    if name not in _DETECTORS:
        raise OptionsError(f"There is no detector named '{name}'.", f"Choose one of {', '.join(_DETECTORS)}.")
    entry = _DETECTORS[name]
    found: type = getattr(import_module(f".{entry.module}", __package__), entry.kind)
    return found


def _needs_package(entry: _Entry) -> bool:
    return entry.trained or bool(entry.package)


def _embedded(name: str) -> Path:
    """The folder of an embedded package. Raises OptionsError where none is embedded."""
    folder = embedded_folder(name)
    if folder is None:
        raise OptionsError(
            f"The detector '{name}' needs a model package of its own.",
            "Train one with 'python -m BrainAnomalyTrainingLib train', or give one you have.",
        )
    return folder


def _without_package(kind: Any, name: str, package: str | Path | None, device: str) -> Detector:
    if package is not None:
        raise OptionsError(f"The detector '{name}' needs no model package.", "Leave the package out.")
    detector: Detector = kind.on_device(device)
    return detector
