"""A VQ-VAE that writes slices as tokens, and autoregressive transformers that read them in several orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from monai.inferers import VQVAETransformerInferer
from monai.utils.ordering import Ordering
from torch import Tensor, nn

# A code that is used less often than this in a batch (running average) starts again from one of the batch's encodings.
_LEAST_USE = 0.1


class TokenTransformer(nn.Module):
    """``autoencoder`` is MONAI's VQVAE, ``transformers`` one DecoderOnlyTransformer for each order.

    Slices become grids (n, rows, columns) of token numbers. Each transformer reads them line by line after one of the
    eight symmetries of the grid: the ensemble of reading orders of Pinaya et al. 2022.
    """

    def __init__(self, autoencoder: Any, transformers: list[nn.Module], grid: tuple[int, int]) -> None:
        super().__init__()
        self.autoencoder, self.transformers = autoencoder, nn.ModuleList(transformers)
        self.orders = [reading_order(grid, index) for index in range(len(transformers))]

    def tokens(self, images: Tensor) -> Tensor:
        """Token numbers (n, rows, columns) of images (n, 1, i, j); the codebook does not learn from them."""
        with frozen(self.autoencoder), torch.no_grad():
            found: Tensor = self.autoencoder.index_quantize(images)
        return found

    def cross_entropy(self, images: Tensor, member: int) -> Tensor:
        """Mean negative log likelihood of the tokens that a transformer should have foretold."""
        with frozen(self.autoencoder):
            logits, target, _ = VQVAETransformerInferer()(
                images, self.autoencoder, self.transformers[member], self.orders[member], return_latent=True
            )
        loss: Tensor = nn.functional.cross_entropy(logits.float().flatten(0, 1), target.flatten())
        return loss

    def log_likelihood(self, images: Tensor, member: int) -> Tensor:
        """Log likelihood (n, rows, columns) of each token given those read before it, at least -50."""
        with frozen(self.autoencoder):
            likelihood: Tensor = VQVAETransformerInferer().get_likelihood(
                images, self.autoencoder, self.transformers[member], self.orders[member]
            )
        return likelihood.float().clamp(min=-50.0)

    @torch.no_grad()
    def heal(self, tokens: Tensor, unlikely: Tensor, member: int, generator: torch.Generator) -> Tensor:
        """The tokens with those marked ``unlikely`` drawn anew, one after the other, given all that was read before."""
        order = torch.as_tensor(self.orders[member].get_sequence_ordering().copy(), device=tokens.device)
        sequence, marked = (part.flatten(1)[:, order].clone() for part in (tokens, unlikely))
        codes = int(self.autoencoder.num_embeddings)
        begun = torch.cat((torch.full_like(sequence[:, :1], codes), sequence), 1)
        for place in torch.nonzero(marked.any(0)).flatten().tolist():
            rows = torch.nonzero(marked[:, place]).flatten()
            logits = self.transformers[member](begun[rows, : place + 1])[:, -1, :codes]
            chances = logits.float().softmax(-1).cpu()
            begun[rows, place + 1] = torch.multinomial(chances, 1, generator=generator)[:, 0].to(begun)
        healed = torch.empty_like(sequence)
        healed[:, order] = begun[:, 1:]
        return healed.reshape(tokens.shape)

    def decode(self, tokens: Tensor) -> Tensor:
        """Images (n, 1, i, j) of tokens (n, rows, columns)."""
        decoded: Tensor = self.autoencoder.decode_samples(tokens)
        return decoded

    @torch.no_grad()
    def revive(self, images: Tensor, generator: torch.Generator) -> None:
        """Restart codes that are hardly used from random encodings of a batch (Dhariwal et al. 2020, 'Jukebox')."""
        codebook = self.autoencoder.quantizer.quantizer
        idle = torch.nonzero(codebook.ema_cluster_size < _LEAST_USE).flatten()
        encodings = self.autoencoder.encode(images).float().movedim(1, -1).flatten(0, -2)
        chosen = torch.randint(0, len(encodings), (len(idle),), generator=generator).to(encodings.device)
        for values in (codebook.embedding.weight.data, codebook.ema_w):
            values[idle] = encodings[chosen].to(values)
        codebook.ema_cluster_size[idle] = 1.0


def reading_order(grid: tuple[int, int], index: int) -> Any:
    """MONAI's ordering of a grid (rows, columns) for one of eight symmetries: bits of mirroring, transposition."""
    return Ordering(
        ordering_type="raster_scan",
        spatial_dims=2,
        dimensions=(1, *grid),
        reflected_spatial_dims=(bool(index & 1), bool(index & 2)),
        transpositions_axes=((1, 0),) if index & 4 else None,
    )


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode for a while: MONAI's codebook learns at every pass in training mode."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
