"""VQ-VAE and autoregressive transformers (Pinaya, Tudosiu, Gray, Rees, Nachev, Ourselin & Cardoso 2022, 'Unsupervised
brain imaging 3D anomaly detection and segmentation with transformers', Medical Image Analysis 79).

A slice is written as a grid of tokens, and transformers learn how likely each token is after those before it. Unlikely
tokens are drawn anew ("healing") and decoded; the residual counts where tokens were unlikely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....errors import PackageError
from ...learned import LearnedDetector
from ...learning import Batch, LearnedConfig, OptimizerSettings, Phase, Preset, Restored
from ..diffusion.diffusion import require_einops

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_AGAIN = "Import the package again, or train the model again."


@dataclass(frozen=True)
class VQTransformerConfig(LearnedConfig):
    """VQ-VAE of ``codes`` of ``code_size`` numbers, transformers, and healing.

    ``channels`` hold one entry for each halving of the slice, with ``residual_layers`` each. ``members`` of the
    ensemble (1 to 8) read the tokens in different orders. Tokens of a likelihood below ``threshold`` are healed; their
    map is smoothed by a Gaussian of ``smoothing`` voxels. The design is the paper's; the sizes, the threshold and the
    smoothing are this project's for slices of 2 mm.
    """

    crop: tuple[int, ...] = (96, 112)
    channels: tuple[int, ...] = (128, 256)
    residual_layers: int = 3
    codes: int = 128
    code_size: int = 64
    code_decay: float = 0.99
    transformer_size: int = 256
    transformer_depth: int = 8
    transformer_heads: int = 8
    members: int = 8
    threshold: float = 0.005
    smoothing: float = 2.0
    first_phase: float = 0.4
    autoencoder_rate: float = 3e-4
    learning_rate: float = 3e-4


class VQTransformerDetector(LearnedDetector):
    """Two phases: the VQ-VAE by absolute error and commitment, then the transformers by cross entropy on its tokens.

    The score is the residual between the scan and its healed version times the smoothed map of unlikely tokens, the
    mean over the ensemble; the scan-level score is the mean negative log likelihood of the tokens.
    """

    name: ClassVar[str] = "vq_transformer"
    title: ClassVar[str] = "VQ-VAE with transformers"
    source: ClassVar[str] = "Pinaya et al. 2022"
    dimensions: ClassVar[Literal[2, 3]] = 2
    Config: ClassVar[type] = VQTransformerConfig
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(VQTransformerConfig(), steps=200_000, batch=32),
        "small": Preset(
            VQTransformerConfig(
                crop=(80, 96),
                channels=(16, 32, 32),
                residual_layers=1,
                codes=128,
                code_size=16,
                code_decay=0.9,
                transformer_size=64,
                transformer_depth=2,
                transformer_heads=4,
                members=1,
                threshold=0.05,
                first_phase=0.7,
                autoencoder_rate=3e-3,
                learning_rate=3e-3,
            ),
            steps=450,
            batch=8,
            average_decay=0.95,
        ),
    }

    @classmethod
    def check(cls, config: VQTransformerConfig) -> None:
        """Whole tokens, one to eight reading orders, heads that divide the transformer."""
        super().check(config)
        divisor = 2 ** len(config.channels)
        if any(size % divisor for size in config.crop):
            raise PackageError("The configuration's crop does not fit its network.", f"Use multiples of {divisor}.")
        if not 1 <= config.members <= 8 or config.codes < 2 or not 0.0 < config.threshold < 1.0:
            raise PackageError("The configuration has an impossible ensemble, codebook or threshold.", _AGAIN)
        if config.transformer_size % config.transformer_heads:
            raise PackageError("The transformer's size is no multiple of its heads.", _AGAIN)

    @classmethod
    def build(cls, config: VQTransformerConfig) -> torch.nn.Module:
        """MONAI's VQVAE and decoder-only transformers. Raises DependencyError without einops."""
        require_einops()
        from ...networks.token_transformer import TokenTransformer

        transformers = [_transformer(config) for _ in range(config.members)]
        return TokenTransformer(_autoencoder(config), transformers, token_grid(config))

    @classmethod
    def phases(cls, config: VQTransformerConfig) -> tuple[Phase, ...]:
        """First the VQ-VAE, then all transformers on its frozen tokens."""
        first, second = OptimizerSettings(config.autoencoder_rate), OptimizerSettings(config.learning_rate, warmup=20)
        return (
            Phase("autoencoder", first, ("autoencoder",), ends=config.first_phase),
            Phase("transformers", second, ("transformers",), starts=config.first_phase),
        )

    @classmethod
    def training_step(cls, network: Any, config: VQTransformerConfig, phase: str, batch: Batch) -> dict[str, Tensor]:
        """The loss of either phase; the transformers' losses are added up."""
        if phase == "transformers":
            losses = [network.cross_entropy(batch.images, member) for member in range(config.members)]
            return {"loss": sum(losses[1:], losses[0])}
        network.revive(batch.images, batch.generator)
        restored, commitment = network.autoencoder(batch.images)
        error = (restored.float() - batch.images).abs().mean()
        return {"loss": error + commitment, "reconstruction": error, "commitment": commitment}

    @classmethod
    def restore(
        cls, network: Any, config: VQTransformerConfig, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Restored:
        """Mean over the ensemble of healed slices, weighted residuals and negative log likelihoods."""
        import torch

        tokens = network.tokens(images)
        healed, scores, likelihoods = [], [], []
        for member in range(config.members):
            likelihood = network.log_likelihood(images, member)
            unlikely = likelihood < math.log(config.threshold)
            restored = network.decode(network.heal(tokens, unlikely, member, generator)).float() * masks
            scores.append((images - restored).abs() * masks * smooth_map(unlikely, images, config.smoothing))
            healed.append(restored)
            likelihoods.append(likelihood.flatten(1).mean(1))
        stacked = torch.stack(healed)
        return Restored(
            stacked.mean(0),
            raw=torch.stack(scores).mean(0),
            uncertainty=stacked.std(0, correction=0) if config.members > 1 else None,
            scan_scores={"negative_log_likelihood": -torch.stack(likelihoods).mean(0)},
        )


def token_grid(config: VQTransformerConfig) -> tuple[int, int]:
    """Rows and columns of a slice's tokens."""
    rows, columns = (size // 2 ** len(config.channels) for size in config.crop)
    return rows, columns


def smooth_map(unlikely: Tensor, images: Tensor, sigma: float) -> Tensor:
    """The share of unlikely tokens (n, rows, columns) about each voxel (n, 1, i, j), in [0, 1]."""
    from monai.networks.layers import GaussianFilter
    from torch.nn.functional import interpolate

    whole = interpolate(unlikely[:, None].float(), size=images.shape[2:], mode="nearest")
    smoothed: Tensor = GaussianFilter(2, sigma).to(images.device)(whole) if sigma > 0.0 else whole
    return smoothed.clamp(0.0, 1.0)


def _autoencoder(config: VQTransformerConfig) -> Any:
    from monai.networks.nets import VQVAE

    count = len(config.channels)
    return VQVAE(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=config.channels,
        num_res_layers=config.residual_layers,
        num_res_channels=config.channels,
        downsample_parameters=((2, 4, 1, 1),) * count,
        upsample_parameters=((2, 4, 1, 1, 0),) * count,
        num_embeddings=config.codes,
        embedding_dim=config.code_size,
        decay=config.code_decay,
    )


def _transformer(config: VQTransformerConfig) -> torch.nn.Module:
    """One token more than there are codes: it begins every sequence."""
    from monai.networks.nets import DecoderOnlyTransformer

    network: torch.nn.Module = DecoderOnlyTransformer(
        num_tokens=config.codes + 1,
        max_seq_len=math.prod(token_grid(config)),
        attn_layers_dim=config.transformer_size,
        attn_layers_depth=config.transformer_depth,
        attn_layers_heads=config.transformer_heads,
    )
    return network
