"""The text encoder: prompts of any length and weight to CLIP's hidden states, 75 tokens at a time."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from modules import devices, paths, prompt_parser
from modules.shared import opts

CHUNK = 75
TABLE = "bpe_simple_vocab_16e6.txt.gz"


def _byte_symbols() -> list[str]:
    """The 256 printable stand-ins of CLIP's byte-level BPE, in vocabulary order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = 256 - len(printable)
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(rest)]


@lru_cache(maxsize=1)
def load_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, made without a network from the merge table that the ``clip`` package ships."""
    folder = Path(paths.models_path) / "clip-tokenizer"
    if not (folder / "merges.txt").exists():
        package = importlib.util.find_spec("clip") or importlib.util.find_spec("open_clip")
        if package is None:
            raise RuntimeError(f"CLIP's merge table {TABLE} is missing: pip install --no-deps clip-anytorch")
        table = gzip.decompress((Path(package.origin).parent / TABLE).read_bytes()).decode("utf-8")
        merges = table.split("\n")[1 : 49152 - 256 - 2 + 1]
        symbols = _byte_symbols()
        vocabulary = [*symbols, *(s + "</w>" for s in symbols), *("".join(m.split()) for m in merges)]
        vocabulary += ["<|startoftext|>", "<|endoftext|>"]
        folder.mkdir(parents=True, exist_ok=True)
        ids = {token: i for i, token in enumerate(vocabulary)}
        (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return CLIPTokenizer(vocab_file=str(folder / "vocab.json"), merges_file=str(folder / "merges.txt"))


@dataclass
class PromptChunk:
    """Up to 75 tokens with a weight each; 77 once the start and end marks are around them."""

    tokens: list[int] = field(default_factory=list)
    multipliers: list[float] = field(default_factory=list)


class TextEncoder(nn.Module):
    """``cond_stage_model``: its ``transformer`` is transformers' CLIPTextModel."""

    def __init__(self, width: int, layers: int, inner: int):
        super().__init__()
        self.transformer = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=width,
                intermediate_size=inner,
                num_hidden_layers=layers,
                num_attention_heads=max(width // 64, 1),
                projection_dim=width,
            )
        )
        self.tokenizer = load_tokenizer()
        self.chunk_length = CHUNK
        self.id_start, self.id_end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        self.comma_token = self.tokenizer.get_vocab()[",</w>"]

    @property
    def wrapped(self) -> TextEncoder:
        """A1111 wraps its encoder once more; extensions look for the transformer inside."""
        return self

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids without start and end marks."""
        return self.tokenizer(list(texts), truncation=False, add_special_tokens=False)["input_ids"]

    def tokenize_line(self, line: str) -> tuple[list[PromptChunk], int]:
        """A prompt as (chunks, number of tokens)."""
        weighted = [[line, 1.0]] if opts.emphasis == "None" else prompt_parser.parse_prompt_attention(line)
        chunks: list[PromptChunk] = []
        current = PromptChunk()
        comma = None  # place of the last comma in the current chunk

        for tokens, (text, weight) in zip(self.tokenize([text for text, _ in weighted]), weighted, strict=True):
            if (text, weight) == ("BREAK", -1):
                chunks.append(current)
                current, comma = PromptChunk(), None
                continue
            for token in tokens:
                if token == self.comma_token:
                    comma = len(current.tokens)
                if len(current.tokens) == CHUNK:
                    rest = PromptChunk()
                    near = comma is not None and CHUNK - comma <= opts.comma_padding_backtrack
                    if near and token != self.comma_token:
                        # words after a nearby comma move on together
                        rest = PromptChunk(current.tokens[comma + 1 :], current.multipliers[comma + 1 :])
                        current = PromptChunk(current.tokens[: comma + 1], current.multipliers[: comma + 1])
                    chunks.append(current)
                    current, comma = rest, None
                current.tokens.append(token)
                current.multipliers.append(weight)
        count = CHUNK * len(chunks) + len(current.tokens)
        if current.tokens or not chunks:
            chunks.append(current)
        return [self._closed(chunk) for chunk in chunks], count

    def _closed(self, chunk: PromptChunk) -> PromptChunk:
        """The chunk filled up with end marks and put between start and end."""
        pad = CHUNK - len(chunk.tokens)
        return PromptChunk(
            [self.id_start, *chunk.tokens, *[self.id_end] * (pad + 1)],
            [1.0, *chunk.multipliers, *[1.0] * (pad + 1)],
        )

    def get_target_prompt_token_count(self, token_count: int) -> int:
        """The token count a prompt may reach before it needs one more chunk."""
        return max(-(-token_count // CHUNK), 1) * CHUNK

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """(texts, 77 * chunks, width); shorter texts are filled up with empty chunks."""
        chunked = {text: self.tokenize_line(text)[0] for text in texts}
        empty = self._closed(PromptChunk())
        longest = max(len(chunks) for chunks in chunked.values())
        columns = []
        for i in range(longest):
            column = [chunked[text][i] if i < len(chunked[text]) else empty for text in texts]
            columns.append(self.process_tokens([c.tokens for c in column], [c.multipliers for c in column]))
        return torch.hstack(columns)

    def process_tokens(self, tokens: list[list[int]], multipliers: list[list[float]]) -> torch.Tensor:
        """One column of chunks (texts, 77) to weighted hidden states (texts, 77, width)."""
        z = self.encode_with_transformers(torch.tensor(tokens, device=devices.device))
        plain = all(weight == 1.0 for row in multipliers for weight in row)
        if plain or opts.emphasis in ("None", "Ignore"):  # (an unweighted mean of exactly 0 would give 0 / 0 below)
            return z
        weighted = z * torch.tensor(multipliers, device=z.device, dtype=z.dtype)[:, :, None]
        if opts.emphasis == "No norm":
            return weighted
        return weighted * (z.mean() / weighted.mean())

    def encode_with_transformers(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states of the last layer, or of an earlier one by the "Clip skip" setting."""
        skip = opts.CLIP_stop_at_last_layers
        outputs = self.transformer(input_ids=tokens, output_hidden_states=skip > 1)
        if skip <= 1:
            return outputs.last_hidden_state
        text_model = getattr(self.transformer, "text_model", self.transformer)
        return text_model.final_layer_norm(outputs.hidden_states[-skip])
