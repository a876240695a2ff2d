"""Detectors by name. Adding a family is adding one file and one line here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..errors import OptionsError
from ..io.volumes import Contrast
from .protocol import Detector

# name -> (module, class, package folder under Resources/Models; "" for families trained by the user, None for those
# that need no package)
_DETECTORS: dict[str, tuple[str, str, str | None]] = {
    "histogram": ("baselines.histogram", "HistogramDetector", None),
    "tissue": ("baselines.tissue", "TissueDetector", None),
    "gaussian_mixture": ("baselines.gaussian_mixture", "GaussianMixtureDetector", None),
    "asymmetry": ("baselines.asymmetry", "AsymmetryDetector", None),
    "voxel_z_score": ("baselines.voxel_z_score", "VoxelZScoreDetector", ""),
    "principal_components": ("baselines.principal_components", "PrincipalComponentsDetector", ""),
    "denoising": ("families.self_supervised.denoising", "DenoisingDetector", "denoising_t1w"),
    "residual_autoencoder": ("families.autoencoders.residual_autoencoder", "ResidualAutoencoderDetector", ""),
    "spatial_autoencoder": ("families.autoencoders.residual_autoencoder", "SpatialAutoencoderDetector", ""),
    "skip_autoencoder": ("families.autoencoders.skip_autoencoder", "SkipAutoencoderDetector", ""),
    "scale_space_autoencoder": ("families.autoencoders.scale_space_autoencoder", "ScaleSpaceAutoencoderDetector", ""),
    "variational_autoencoder": ("families.variational.variational_autoencoder", "VariationalAutoencoderDetector", ""),
    "context_autoencoder": ("families.variational.context_autoencoder", "ContextAutoencoderDetector", ""),
    "mixture_autoencoder": ("families.variational.mixture_autoencoder", "MixtureAutoencoderDetector", ""),
    "anovaegan": ("families.adversarial.anovaegan", "AnoVAEGANDetector", ""),
    "adversarial_autoencoder": ("families.adversarial.adversarial_autoencoder", "AdversarialAutoencoderDetector", ""),
    "f_anogan": ("families.adversarial.f_anogan", "FAnoGANDetector", ""),
    "ganomaly": ("families.adversarial.ganomaly", "GANomalyDetector", ""),
    "vq_transformer": ("families.variational.vq_transformer", "VQTransformerDetector", ""),
    "simplex_diffusion": ("families.diffusion.simplex_diffusion", "SimplexDiffusionDetector", ""),
    "conditioned_diffusion": ("families.diffusion.conditioned_diffusion", "ConditionedDiffusionDetector", ""),
    "patched_diffusion": ("families.diffusion.patched_diffusion", "PatchedDiffusionDetector", ""),
    "latent_diffusion": ("families.diffusion.latent_diffusion", "LatentDiffusionDetector", ""),
    "foreign_patch": ("families.self_supervised.foreign_patch", "ForeignPatchDetector", ""),
    "any_contrast": ("shipped.any_contrast", "AnyContrastDetector", "any_contrast"),
    "combined": ("shipped.combined", "CombinedDetector", "any_contrast"),
    "combined_t1w": ("shipped.combined", "CombinedT1wDetector", "any_contrast"),
}


def detector_names() -> tuple[str, ...]:
    """Names that ``load_detector`` knows."""
    return tuple(_DETECTORS)


def trainable_names() -> tuple[str, ...]:
    """Names of the detectors that are trained or fitted on healthy scans."""
    return tuple(
        name
        for name, (module, _, package) in _DETECTORS.items()
        if package is not None and module != "shipped.combined"  # made of trained ones, not trained itself
    )


def detector_for(contrast: Contrast) -> str:
    """The detector that suits a contrast: anatomy and network together where that measured better than anatomy alone.

    On T2w the network adds nothing to the tissue reference yet.
    """
    return {"T1w": "combined_t1w", "FLAIR": "combined"}.get(contrast, "tissue")


def embedded_folder(name: str) -> Path | None:
    """The embedded package that a detector rests on, None where there is none."""
    folder = _DETECTORS[name][2]
    return _embedded(name, folder) if folder else None


def load_detector(name: str, package: str | Path | None = None, device: str = "auto") -> Detector:
    """The detector of that name; trainable ones with ``package`` (a folder) or the embedded one, on ``device``.

    ``device`` is auto, cpu, cuda or mps. Raises OptionsError for an unknown name, PackageError for a bad package.
    """
    detector_class, embedded = detector_class_named(name), _DETECTORS[name][2]
    if embedded is None:
        return _without_package(detector_class, name, package)
    from ..packages.read import read_package

    return detector_class.from_package(read_package(package or _embedded(name, embedded)), device)  # type: ignore[attr-defined, no-any-return]


def detector_class_named(name: str) -> type:
    """The class of that name. Raises OptionsError for an unknown one."""
    if name not in _DETECTORS:
        raise OptionsError(f"There is no detector named '{name}'.", f"Choose one of {', '.join(_DETECTORS)}.")
    module, class_name, _ = _DETECTORS[name]
    found: type = getattr(import_module(f".{module}", __package__), class_name)
    return found


def _embedded(name: str, folder: str) -> Path:
    """The folder of an embedded package. Raises OptionsError where none is embedded."""
    from ..resources import resources_folder

    if not folder:
        raise OptionsError(
            f"The detector '{name}' needs a model package of its own.",
            "Train one with 'python -m BrainAnomalyTrainingLib train', or give one you have.",
        )
    return resources_folder() / "Models" / folder


def _without_package(detector_class: type, name: str, package: str | Path | None) -> Detector:
    if package is not None:
        raise OptionsError(f"The detector '{name}' needs no model package.", "Leave the package out.")
    return detector_class()  # type: ignore[no-any-return]
