"""ReSTR's language encoder: words to features (Kim et al. 2022, section 3.1).

E expressions, T tokens, V words, D the encoder's channels, C those that leave it.
"""

import logging
import math
from collections.abc import MutableMapping, Sequence
from functools import partial

import numpy as np
import torch
from detectron2.config import CfgNode
from timm.layers import Attention, Mlp
from torch import Tensor, nn

from ..text import Vocabulary, load_word_vectors

logger = logging.getLogger(__name__)


class WordEmbedding(nn.Module):
    """A table of word vectors, and the words of its rows, which checkpoints hold beside it."""

    vocabulary: Tensor

    def __init__(self, words: Vocabulary | None, dim: int) -> None:
        """
        Args:
            words: ``None``: those of the checkpoint that is loaded.
        """
        super().__init__()
        num_words = 0 if words is None else len(words)
        table = torch.randn(num_words, dim)
        table[:1] = 0  # padding, as the authors begin with
        self._set(words, table)

    def forward(self, ids: Tensor) -> Tensor:
        """(E, T) int64 -> (E, T, D)."""
        return nn.functional.embedding(ids, self.weight)

    @property
    def words(self) -> Vocabulary:
        """
        Raises:
            ValueError: there are none yet.
        """
        if self._words is None:
            raise ValueError(
                "the model has no vocabulary: load a checkpoint that holds one, or set "
                "MODEL.RESTR.TEXT.VOCABULARY to a file with a word per line"
            )
        return self._words

    def use_vectors(self, vectors: np.ndarray) -> None:
        """Start from word vectors (V, D).

        Raises:
            ValueError: they are of another length than the table's rows.
        """
        if vectors.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"MODEL.RESTR.TEXT.WORD_VECTORS has vectors of {vectors.shape[1]} numbers; set "
                f"MODEL.RESTR.TEXT.EMBED_DIM, {self.weight.shape[1]}, to that"
            )
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(vectors))

    def fit_to_checkpoint(
        self, state: MutableMapping[str, Tensor], prefix: str, require_complete: bool
    ) -> None:
        """Bring table and words of a checkpoint and of this module together, before it is loaded.

        A module without words takes the checkpoint's. One with words gets the vectors of those that
        it shares with the checkpoint, and keeps its own for the others. A checkpoint that does not
        say its words (the authors' do not) must have as many rows.

        Args:
            state: of the whole model, changed in place.
            prefix: of this module's names in it.
            require_complete: no word may stay without a vector, nor change its row, by which an
                optimizer knows it.

        Raises:
            ValueError: the words of the rows are not known, or are others and
                ``require_complete``.
        """
        name, table = f"{prefix}vocabulary", state.get(f"{prefix}weight")
        if table is None:
            return
        if name not in state:
            if len(table) != len(self.weight):
                raise ValueError(
                    f"the checkpoint has {len(table)} word vectors and does not say of which "
                    f"words, the model has {len(self.weight)}; set MODEL.RESTR.TEXT.VOCABULARY to "
                    "the file of the words that it was trained with"
                )
            state[name] = self.vocabulary
            return
        theirs = Vocabulary.from_tensor(state[name])
        if self._words is None:
            self._set(theirs, torch.empty_like(table, device=self.weight.device))
        elif theirs != self._words:
            if require_complete:
                raise ValueError(
                    f"the words of the checkpoint are not those of {self._words.source}; leave "
                    "MODEL.RESTR.TEXT.VOCABULARY empty to evaluate with the checkpoint's, or train "
                    "anew into another OUTPUT_DIR"
                )
            state[f"{prefix}weight"] = self._merged(theirs, table)
            state[name] = self.vocabulary

    def _merged(self, theirs: Vocabulary, table: Tensor) -> Tensor:
        """This module's table with the vectors of the words that another one has, too."""
        rows = {word: row for row, word in enumerate(theirs.words)}
        shared = [(i, rows[word]) for i, word in enumerate(self.words.words) if word in rows]
        ours, of_theirs = map(list, zip(*shared, strict=True))  # the special words at least
        merged = self.weight.detach().cpu().clone()
        merged[ours] = table[of_theirs].to(merged)
        logger.info("%d of %d words have vectors in the checkpoint", len(shared), len(self.words))
        return merged

    def _set(self, words: Vocabulary | None, table: Tensor) -> None:
        self._words = words
        text = torch.empty(0, dtype=torch.uint8) if words is None else words.to_tensor()
        self.weight = nn.Parameter(table)
        self.register_buffer("vocabulary", text.to(table.device))


class PostNormBlock(nn.Module):
    """A transformer block whose norms follow the residual sums (Vaswani et al. 2017)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.attn = Attention(dim, num_heads, qkv_bias=True, attn_drop=dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=dropout)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """(E, T, D) -> (E, T, D); ``attn_mask`` (E, 1, 1, T) bool, True = may be attended to."""
        tokens = self.norm1(tokens + self.attn(tokens, attn_mask))
        return self.norm2(tokens + self.mlp(tokens))


class TextEncoder(nn.Module):
    """Word embedding, sinusoidal positions, post-norm transformer, projection."""

    positions: Tensor

    def __init__(
        self,
        *,
        words: WordEmbedding,
        embed_dim: int = 300,
        out_dim: int = 768,
        max_tokens: int = 20,
        depth: int = 6,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        mask_padding: bool = False,
    ) -> None:
        """
        Args:
            max_tokens: T; shorter expressions are padded at their beginning, longer ones cut.
            mask_padding: no token attends to padding; the authors' code lets all do.

        Raises:
            ValueError: no token, or channels that the heads do not divide.
        """
        super().__init__()
        if embed_dim % num_heads or max_tokens < 1:
            raise ValueError(
                f"the language encoder takes {max_tokens} tokens of {embed_dim} channels in "
                f"{num_heads} heads; it needs a token and heads that divide the channels"
            )
        self.words = words
        self.max_tokens = max_tokens
        self.mask_padding = mask_padding
        self.register_buffer("positions", sinusoidal_positions(max_tokens, embed_dim), False)
        self.blocks = nn.ModuleList(
            PostNormBlock(embed_dim, num_heads, mlp_ratio, dropout) for _ in range(depth)
        )
        self.proj = nn.Linear(embed_dim, out_dim)
        self.norm = nn.LayerNorm(out_dim)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.words.words

    def tokenize(
        self, sentences: Sequence[str], *, allow_unknown: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Ids (E, T) int64 and whether each is a word, (E, T) bool, on the encoder's device.

        Raises:
            ValueError: there is no vocabulary; an expression has no word, or none that is known.
        """
        encode = partial(self.vocabulary.encode, allow_unknown=allow_unknown)
        rows = [encode(sentence, self.max_tokens) for sentence in sentences]
        ids = torch.tensor([ids for ids, _ in rows], device=self.positions.device)
        return ids, torch.tensor([real for _, real in rows], device=self.positions.device)

    def example(self, num_expressions: int) -> tuple[Tensor, Tensor]:
        """As :meth:`tokenize`, of made-up expressions of half the tokens."""
        ids = torch.arange(num_expressions * self.max_tokens).view(num_expressions, -1)
        is_word = torch.arange(self.max_tokens) < max(1, self.max_tokens // 2)
        return (ids % len(self.vocabulary)) * is_word, is_word.repeat(num_expressions, 1)

    def forward(self, ids: Tensor, is_word: Tensor) -> Tensor:
        """
        Args:
            ids: (E, T) int64.
            is_word: (E, T) bool, False for padding.

        Returns:
            (E, T, C).
        """
        tokens = self.words(ids) + self.positions
        attn_mask = is_word[:, None, None] if self.mask_padding else None
        for block in self.blocks:
            tokens = block(tokens, attn_mask)
        return self.norm(self.proj(tokens))


def sinusoidal_positions(num_tokens: int, dim: int) -> Tensor:
    """(T, D), sine and cosine of each frequency side by side (Vaswani et al. 2017, section 3.5)."""
    frequencies = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(num_tokens)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


def build_text_encoder(node: CfgNode, out_dim: int) -> TextEncoder:
    """``node``: MODEL.RESTR.TEXT. ``out_dim``: channels of the result."""
    vocabulary = Vocabulary.from_file(node.VOCABULARY) if node.VOCABULARY else None
    words = WordEmbedding(vocabulary, node.EMBED_DIM)
    if node.WORD_VECTORS and vocabulary is not None:
        vectors, num_found = load_word_vectors(node.WORD_VECTORS, vocabulary.words)
        words.use_vectors(vectors)
        logger.info("%d of %d words have a vector", num_found, len(vocabulary))
    return TextEncoder(
        words=words,
        embed_dim=node.EMBED_DIM,
        out_dim=out_dim,
        max_tokens=node.MAX_TOKENS,
        depth=node.DEPTH,
        num_heads=node.NUM_HEADS,
        mlp_ratio=node.MLP_RATIO,
        dropout=node.DROPOUT,
        mask_padding=node.MASK_PADDING,
    )
