"""Build groundingdino-py's network under the transformers library of today, with random weights.
Leaves out: checkpoints and images (groundingdino.py).

Three parts of the package are replaced from outside: its wrapper around BERT calls methods
that transformers no longer has; it loads BERT's weights from the hub only to overwrite them by the checkpoint's; and its
text layers mix up the masks of a batch whose captions differ (they repeat them head by head, torch wants them image by
image). Shapes: B images, L tokens, D dimensions of the text encoder."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase

_DRAWING = "groundingdino.util.visualizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Sizes of a Grounding DINO. The defaults are those of the official Swin-T checkpoint (arXiv 2303.05499)."""

    embed_dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    num_heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window_size: int = 7
    pretrain_img_size: int = 224
    """Window of the Swin backbone, in pixels; it shapes no weight."""
    enc_layers: int = 6
    dec_layers: int = 6
    nheads: int = 8
    dim_feedforward: int = 2048
    num_queries: int = 900
    short_px: int = 800
    """Shorter side of an image after resizing, unless the longer one would exceed `long_px`."""
    long_px: int = 1333
    text: Mapping[str, int] = field(default_factory=dict)
    """Configuration of BERT where it differs from bert-base-uncased."""

    @property
    def vocabulary(self) -> int:
        """Number of tokens in the text encoder's vocabulary."""
        return self.text.get("vocab_size", 30522)

    def built(self, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
        """Build the network in evaluation mode on the CPU, with random weights.

        In: a tensor [B, 3, H, W] and B captions. Out: pred_logits [B, Q, 256] and pred_boxes [B, Q, 4] (centre x and y,
        width, height; 0 to 1)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package imports and calls what timm and torch have since moved
            return _built(self, tokenizer)


ARCHITECTURES: Mapping[str, Architecture] = {
    "swin-t": Architecture(),
    "swin-b": Architecture(
        embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window_size=12, pretrain_img_size=384
    ),
}
_SAME_IN_ALL = {
    "hidden_dim": 256,  # the package's position embeddings are written for this number
    "position_embedding": "sine",
    "pe_temperatureH": 20,
    "pe_temperatureW": 20,
    "pre_norm": False,
    "dropout": 0.0,
    "query_dim": 4,
    "num_patterns": 0,
    "num_feature_levels": 4,
    "enc_n_points": 4,
    "dec_n_points": 4,
    "two_stage_type": "standard",
    "transformer_activation": "relu",
    "embed_init_tgt": True,
    "use_text_enhancer": True,
    "use_fusion_layer": True,
    "use_text_cross_attention": True,
    "text_dropout": 0.0,
    "fusion_dropout": 0.0,
    "fusion_droppath": 0.1,
    # Gradient checkpointing: there is no backward pass.
    "use_checkpoint": False,
    "use_transformer_ckpt": False,
}


class TextEncoder(nn.Module):
    """BERT under the names of the official checkpoints, with attention inside each phrase alone."""

    def __init__(self, bert_model: BertModel) -> None:
        super().__init__()
        self.config = bert_model.config
        self.embeddings = bert_model.embeddings
        self.encoder = bert_model.encoder
        self.pooler = bert_model.pooler

    def forward(
        self,
        input_ids: Int[Tensor, "B L"],
        attention_mask: Bool[Tensor, "B L L"],
        position_ids: Int[Tensor, "B L"],
        token_type_ids: Int[Tensor, "B L"],
    ) -> dict[str, Float[Tensor, "B L D"]]:
        """Encode tokens under an attention mask: True where token i attends to token j."""
        hidden = self.embeddings(input_ids=input_ids, position_ids=position_ids, token_type_ids=token_type_ids)
        mask = torch.zeros(attention_mask.shape, dtype=hidden.dtype, device=hidden.device)
        mask = mask.masked_fill(~attention_mask, torch.finfo(hidden.dtype).min)[:, None]
        return {"last_hidden_state": self.encoder(hidden, attention_mask=mask).last_hidden_state}


def _built(architecture: Architecture, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    package = _package()
    from groundingdino.models.GroundingDINO.backbone.backbone import Joiner
    from groundingdino.models.GroundingDINO.backbone.position_encoding import build_position_encoding
    from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
    from groundingdino.models.GroundingDINO.transformer import build_transformer

    sizes = asdict(architecture)
    settings = SimpleNamespace(**sizes, **_SAME_IN_ALL)
    swin = {name: sizes[name] for name in ("embed_dim", "depths", "num_heads", "window_size", "pretrain_img_size")}
    backbone = SwinTransformer(**swin, out_indices=(1, 2, 3))
    joined = Joiner(backbone, build_position_encoding(settings))
    joined.num_channels = backbone.num_features[1:]
    bert = BertModel(BertConfig.from_dict(dict(architecture.text)))
    with (
        _replaced(package, BertModelWarper=TextEncoder),
        _replaced(
            package.get_tokenlizer,
            get_tokenlizer=lambda _: tokenizer,
            get_pretrained_language_model=lambda _: bert,
        ),
    ):
        net = package.GroundingDINO(
            joined,
            build_transformer(settings),
            num_queries=architecture.num_queries,
            aux_loss=True,
            iter_update=True,
            query_dim=4,
            num_feature_levels=4,
            nheads=architecture.nheads,
            two_stage_type="standard",
            two_stage_bbox_embed_share=False,
            two_stage_class_embed_share=False,
            dn_number=0,
        )
    for layer in net.transformer.encoder.text_layers:
        layer.register_forward_pre_hook(_mask_image_by_image, with_kwargs=True)
    frozen: nn.Module = net.eval().requires_grad_(False)
    return frozen


def _mask_image_by_image(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """Repeat the mask [B, L, L] to [B * heads, L, L], all heads of an image in a row, as torch's attention reads it."""
    return args, {**kwargs, "src_mask": kwargs["src_mask"].repeat_interleave(layer.nhead, dim=0)}


def _package() -> Any:  # noqa: ANN401 - a module without types
    """Import groundingdino's module of that name, without its drawing part (which needs OpenGL's library)."""
    stand_in = ModuleType(_DRAWING)
    stand_in.COCOVisualizer = None  # type: ignore[attr-defined]
    put = _DRAWING not in sys.modules
    if put:
        sys.modules[_DRAWING] = stand_in
    try:
        from groundingdino.models.GroundingDINO import groundingdino as package
    finally:
        if put:
            del sys.modules[_DRAWING]
    return package


@contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:  # noqa: ANN401
    """Replace attributes of `owner` until the end of the block."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
