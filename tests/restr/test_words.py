"""The words of a model: of its vocabulary, of its checkpoints, and others."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from d2seg.checkpoint import Checkpointer
from families.restr_config import SENTENCES, image, small_config, small_model, write_vocabulary


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("words") / "vocabulary.txt")


@pytest.fixture(scope="module")
def model(repo_dir: Path, vocabulary: Path) -> nn.Module:
    return small_model(repo_dir, vocabulary)


class TestWords:
    """Words and their vectors in checkpoints."""

    @pytest.fixture
    def checkpoint(self, model: nn.Module, tmp_path: Path) -> str:
        Checkpointer(model, str(tmp_path)).save("model")
        return str(tmp_path / "model.pth")

    def test_a_model_without_words_takes_those_of_the_checkpoint(
        self, repo_dir: Path, model: nn.Module, checkpoint: str
    ) -> None:
        other = small_model(repo_dir, None)
        Checkpointer(other).load(checkpoint, require_complete=True)
        assert other.text_encoder.vocabulary == model.text_encoder.vocabulary
        example = {"image": image(), "expressions": list(SENTENCES)}
        with torch.no_grad():
            ours, theirs = (m([example])[0]["referring"].scores for m in (model, other))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)

    def test_words_in_common_keep_their_vectors(
        self, repo_dir: Path, model: nn.Module, checkpoint: str, tmp_path: Path
    ) -> None:
        words = (*model.text_encoder.vocabulary.words[:4], "ball", "zebra")
        (tmp_path / "other.txt").write_text("".join(f"{word}\n" for word in words))
        other = small_model(repo_dir, tmp_path / "other.txt")
        zebra = other.text_encoder.words.weight[5].clone()
        Checkpointer(other).load(checkpoint)
        row = model.text_encoder.vocabulary.words.index("ball")
        table = other.text_encoder.words.weight
        assert torch.equal(table[4], model.text_encoder.words.weight[row])
        assert torch.equal(table[5], zebra)
        assert other.text_encoder.vocabulary.words == words
        with pytest.raises(ValueError, match=r"words of the checkpoint are not those of .*empty"):
            Checkpointer(other).load(checkpoint, require_complete=True)

    def test_a_checkpoint_that_does_not_say_its_words_needs_their_file(
        self, repo_dir: Path, model: nn.Module, tmp_path: Path
    ) -> None:
        state = model.state_dict()
        del state["text_encoder.words.vocabulary"]
        torch.save(state, tmp_path / "silent.pth")
        with pytest.raises(ValueError, match=r"does not say of which words.*VOCABULARY"):
            Checkpointer(small_model(repo_dir, None)).load(str(tmp_path / "silent.pth"))
        other = small_model(repo_dir, write_vocabulary(tmp_path / "words.txt"))
        Checkpointer(other).load(str(tmp_path / "silent.pth"), require_complete=True)

    def test_word_vectors_from_a_file(
        self, repo_dir: Path, vocabulary: Path, tmp_path: Path
    ) -> None:
        cfg = small_config(repo_dir, vocabulary)
        cfg.MODEL.RESTR.TEXT.EMBED_DIM = 4
        vectors = tmp_path / "glove.txt"
        vectors.write_text("ball 1 2 3 4\nred 5 6 7 8\n")
        cfg.MODEL.RESTR.TEXT.WORD_VECTORS = str(vectors)
        encoder = build_model(cfg).text_encoder
        row = encoder.vocabulary.words.index("red")
        assert encoder.words.weight[row].tolist() == [5, 6, 7, 8]
        cfg.MODEL.RESTR.TEXT.EMBED_DIM = 6
        with pytest.raises(ValueError, match=r"WORD_VECTORS has vectors of 4 numbers.*EMBED_DIM"):
            build_model(cfg)
