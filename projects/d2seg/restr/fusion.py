"""ReSTR's fusion encoder and adaptive classifier (Kim et al. 2022, section 3.2).

B images, E expressions, N = h * w patches, T tokens, C channels.
"""

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F


class FusionEncoder(nn.Module):
    """Two transformers: of patches and words, then of words and the class seed, whose result
    classifies each patch as belonging to the object or not."""

    def __init__(
        self,
        *,
        vision_dim: int,
        text_dim: int,
        dim: int = 768,
        depth: int = 2,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        share_weights: bool = False,
        normalize: bool = True,
    ) -> None:
        """
        Args:
            vision_dim, text_dim: channels of the two streams.
            depth: blocks of each transformer.
            share_weights: both transformers are one (table 4 of the paper).
            normalize: each patch and token has unit length before its projection.

        Raises:
            ValueError: no block, or channels that the heads do not divide.
        """
        super().__init__()
        if depth < 1 or dim % num_heads:
            raise ValueError(
                f"the fusion encoders have {depth} blocks of {dim} channels in {num_heads} heads; "
                "they need one block and heads that divide the channels"
            )
        self.normalize = normalize
        self.proj_vision = nn.Linear(vision_dim, dim)
        self.proj_text = nn.Linear(text_dim, dim)
        self.vision_language = _blocks(dim, depth, num_heads, mlp_ratio)
        self.language_seed = (
            self.vision_language if share_weights else _blocks(dim, depth, num_heads, mlp_ratio)
        )
        self.norm = nn.LayerNorm(dim)
        self.seed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=0.02))
        self.proj_patch = nn.Linear(dim, dim, bias=False)
        self.proj_classifier = nn.Linear(dim, dim, bias=False)

    def project_vision(self, patches: Tensor) -> Tensor:
        """Patches (B, N, C) of the visual encoder to those that meet the language."""
        return self.proj_vision(self._unit(patches))

    def forward(
        self, patches: Tensor, text: Tensor, is_word: Tensor, image_of: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            patches: (B, N, C) of :meth:`project_vision`.
            text: (E, T, C) of the language encoder.
            is_word: (E, T) bool; padding enters as zeros.
            image_of: (E,) int64, the image of each expression.

        Returns:
            Patch logits (E, N), and the patches (E, N, C) that gave them, without ``proj_patch``,
            whose weight is multiplied with the next layer's instead.
        """
        words = self.proj_text(self._unit(text)) * is_word[..., None]
        first, *others = self.vision_language
        tokens = _block_of_shared_patches(first, patches, words, image_of)
        for block in others:
            tokens = _plain_block(block, tokens)
        patches, words = tokens.split([patches.shape[1], words.shape[1]], dim=1)
        sequence = torch.cat([words, self.seed.expand(words.shape[0], -1, -1)], dim=1)
        for block in self.language_seed:
            sequence = block(sequence)
        classifier = self.proj_classifier(self.norm(sequence[:, -1:]))  # (E, 1, C)
        classifier = classifier @ self.proj_patch.weight  # of the patches as they are
        return torch.bmm(patches, classifier.mT).squeeze(-1), patches

    def _unit(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=-1, eps=1e-12) if self.normalize else features


def _block_of_shared_patches(
    block: Block, patches: Tensor, words: Tensor, image_of: Tensor
) -> Tensor:
    """``block`` on [patches, words] of each expression, where an image's patches are the same for
    all of its expressions.

    What patches attend to among themselves is computed once an image; an expression adds its words
    to the softmax, by the sum of exponentials that each part of it has (as Rabe and Staats 2021,
    section 2, for parts of a long sequence).

    Args:
        patches: (B, N, C). words: (E, T, C). image_of: (E,).

    Returns:
        (E, N + T, C).
    """
    attention = block.attn
    query, key, value = _heads(attention, block.norm1(patches))  # (B, heads, N, C / heads)
    of_words = _heads(attention, block.norm1(words))  # (E, heads, T, C / heads)
    # fp32, whatever the products are in: half precision leaves two digits of a sum of exponentials
    scores = ((query * attention.scale) @ key.mT).float()
    total = scores.logsumexp(-1, keepdim=True)  # (B, heads, N, 1)
    among_patches = (scores - total).exp().to(value.dtype) @ value
    # not indexed with brackets, whose gradient takes five times as long
    query, key, value, total, among_patches = (
        part.index_select(0, image_of) for part in (query, key, value, total, among_patches)
    )
    scores = ((query * attention.scale) @ of_words[1].mT).float()  # (E, heads, N, T)
    total_words = scores.logsumexp(-1, keepdim=True)
    share = (total_words - total).sigmoid()  # of the softmax that falls on words
    to_words = (scores - total_words).exp().to(value.dtype) @ of_words[2]
    patches_attended = torch.lerp(among_patches, to_words, share.to(to_words.dtype))
    words_attended = F.scaled_dot_product_attention(
        of_words[0],
        torch.cat([key, of_words[1]], dim=2),
        torch.cat([value, of_words[2]], dim=2),
    )
    attended = torch.cat([patches_attended, words_attended], dim=2).transpose(1, 2).flatten(2)
    tokens = torch.cat([patches.index_select(0, image_of), words], dim=1) + attention.proj(attended)
    return tokens + block.mlp(block.norm2(tokens))


def _plain_block(block: Block, tokens: Tensor) -> Tensor:
    """``block`` (E, N, C) -> (E, N, C); in half-precision training on a CPU without torch's fused
    attention.

    Forward and backward of 32 x 4 heads of 268 tokens took 233 ms with it, 131 ms without (bf16,
    one core); of 56 x 4 heads of 268 tokens in fp32 271 ms with it, 312 without (two cores)."""
    on_cpu = tokens.device.type == "cpu"
    half = on_cpu and torch.is_autocast_enabled("cpu")
    block.attn.fused_attn = not (half and torch.is_grad_enabled())
    return block(tokens)


def _heads(attention: Attention, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, N, C) -> queries, keys and values (n, heads, N, C / heads)."""
    projected = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1))
    return projected.permute(2, 0, 3, 1, 4).unbind(0)


def _blocks(dim: int, depth: int, num_heads: int, mlp_ratio: float) -> nn.ModuleList:
    norm = nn.LayerNorm  # with an epsilon of 1e-5, as the authors', not timm's 1e-6
    return nn.ModuleList(
        Block(dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=norm) for _ in range(depth)
    )
