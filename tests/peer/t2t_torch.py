"""Tokens-to-Token ViTs and the ViT baselines in PyTorch: the peer that t2t is compared with.

Written from the paper (Yuan et al., ICCV 2021) and tests/goldens/README.md, whose numbers it reproduces
(check_model.py). Parameter names, shapes and their order are those of the official state_dict, so that weights go
both ways with strict=True.

    model = build("t2t_vit_7")                      # or Config(embed_dim=32, ...)
    model.load_state_dict(tensors.read(path)[0])
    logits = model.eval()(images)                   # (B, 3, H, W) -> (B, classes)
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass(frozen=True)
class Config:
    """The fields are the keys of t2t's configuration files."""

    img_size: int = 224
    in_chans: int = 3
    num_classes: int = 1000
    tokens_type: str = "performer"  # performer, transformer, convolution, patch
    token_dim: int = 64
    splits: tuple = ((7, 4, 2), (3, 2, 1), (3, 2, 1))  # kernel, stride, padding; of a patch only the first kernel
    embed_dim: int = 384
    depth: int = 14
    num_heads: int = 6
    mlp_ratio: float = 3.0
    qkv_bias: bool = False
    qk_scale: float = 0.0  # 0: head_dim^-0.5
    norm_eps: float = 1e-5
    variant: str = "plain"  # plain, se, ghost, dense
    growth_rate: int = 0
    block_config: tuple = ()
    drop_path: float = 0.0
    token_dropout: float = 0.1
    fused: bool = True  # attention by PyTorch's fused kernel; False: softmax(q k^T) v spelt out


def t2t(dim, depth, heads, ratio, **other):
    return Config(embed_dim=dim, depth=depth, num_heads=heads, mlp_ratio=ratio, **other)


def vit(dim, heads, **other):
    given = dict(tokens_type="patch", splits=((16, 16, 0),), embed_dim=dim, depth=12, num_heads=heads, mlp_ratio=4.0,
                 qkv_bias=True, norm_eps=1e-6)
    return Config(**{**given, **other})


ZOO = {
    "t2t_vit_7": t2t(256, 7, 4, 2.0),
    "t2t_vit_10": t2t(256, 10, 4, 2.0),
    "t2t_vit_12": t2t(256, 12, 4, 2.0),
    "t2t_vit_14": t2t(384, 14, 6, 3.0),
    "t2t_vit_19": t2t(448, 19, 7, 3.0),
    "t2t_vit_24": t2t(512, 24, 8, 3.0),
    "t2t_vit_t_14": t2t(384, 14, 6, 3.0, tokens_type="transformer"),
    "t2t_vit_t_19": t2t(448, 19, 7, 3.0, tokens_type="transformer"),
    "t2t_vit_t_24": t2t(512, 24, 8, 3.0, tokens_type="transformer"),
    "t2t_vit_c_14": t2t(384, 14, 6, 3.0, tokens_type="convolution"),
    "t2t_vit_14_resnext": t2t(384, 14, 32, 3.0),
    "t2t_vit_14_wide": t2t(768, 4, 12, 3.0),
    "t2t_vit_dense": t2t(128, 12, 8, 2.0, variant="dense", growth_rate=64, block_config=(3, 6, 6, 4)),
    "t2t_vit_16_ghost": t2t(384, 16, 6, 3.0, variant="ghost"),
    "t2t_vit_14_se": t2t(384, 14, 6, 3.0, variant="se"),
    "vit_tiny_patch16": vit(192, 3),
    "vit_small_patch16": vit(384, 6),
    "vit_base_patch16": vit(768, 12),
    "vit_large_patch16": vit(1024, 16, depth=24),
    "vit_small_patch16_official": vit(768, 8, depth=8, mlp_ratio=3.0, qkv_bias=False, norm_eps=1e-5),
}


def build(model, **changes):
    """A model from a zoo name or a Config."""
    return T2T(dataclasses.replace(ZOO[model] if isinstance(model, str) else model, **changes))


# ---- parts


def attend(q, k, v, scale, fused):
    """(B, heads, N, d) each -> (B, heads, N, d)."""
    if fused:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    return ((q * scale) @ k.transpose(-2, -1)).softmax(-1) @ v


def split_heads(x, heads):
    """(B, N, C) -> (B, heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class DropPath(nn.Module):
    """Drops a residual branch for whole samples."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(x.shape[0], 1, 1).bernoulli_(keep).div_(keep)


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class GhostMlp(nn.Module):
    """A third of the hidden width is computed; the rest are its channels scaled, after GELU and before another."""

    def __init__(self, dim, hidden):
        super().__init__()
        third = hidden // 3
        self.fc1 = nn.Linear(dim, third)
        self.fc2 = nn.Linear(hidden, dim)
        self.cheap_operation2 = nn.Conv1d(third, third, 1, groups=third, bias=False)
        self.cheap_operation3 = nn.Conv1d(third, third, 1, groups=third, bias=False)

    def forward(self, x):
        x = F.gelu(self.fc1(x))
        cheap = [F.gelu(x * conv.weight.flatten()) for conv in (self.cheap_operation2, self.cheap_operation3)]
        return self.fc2(torch.cat([x, *cheap], -1))


class SqueezeExcite(nn.Module):
    """Scales channels by a gate computed from their mean over all tokens."""

    def __init__(self, dim):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(dim, dim // 16, bias=False), nn.ReLU(),
                                nn.Linear(dim // 16, dim, bias=False), nn.Sigmoid())

    def forward(self, x):
        return x * self.fc(x.mean(1, keepdim=True))


class Attention(nn.Module):
    def __init__(self, dim, config):
        super().__init__()
        self.heads, self.fused = config.num_heads, config.fused
        self.scale = config.qk_scale or (dim // self.heads) ** -0.5
        self.make_projections(dim, config.qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.se_layer = SqueezeExcite(dim) if config.variant == "se" else nn.Identity()

    def make_projections(self, dim, bias):
        self.qkv = nn.Linear(dim, 3 * dim, bias)

    def projections(self, x):
        return self.qkv(x).chunk(3, -1)

    def forward(self, x):
        q, k, v = (split_heads(part, self.heads) for part in self.projections(x))
        x = attend(q, k, v, self.scale, self.fused).transpose(1, 2).flatten(2)
        return self.se_layer(self.proj(x))


class GhostAttention(Attention):
    """Half of the width of q, k and v is computed; the other half is its channels scaled."""

    def make_projections(self, dim, bias):
        half = dim // 2
        for part in "qkv":
            setattr(self, part, nn.Linear(dim, half, bias))
        for part in "qkv":
            setattr(self, "cheap_operation_" + part, nn.Conv1d(half, half, 1, groups=half, bias=False))

    def projections(self, x):
        for part in "qkv":
            half = getattr(self, part)(x)
            yield torch.cat([half, half * getattr(self, "cheap_operation_" + part).weight.flatten()], -1)


class Block(nn.Module):
    def __init__(self, dim, drop_path, config):
        super().__init__()
        ghost = config.variant == "ghost"
        self.norm1 = nn.LayerNorm(dim, config.norm_eps)
        self.attn = (GhostAttention if ghost else Attention)(dim, config)
        self.norm2 = nn.LayerNorm(dim, config.norm_eps)
        self.mlp = (GhostMlp if ghost else Mlp)(dim, int(dim * config.mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x):
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class DenseBlock(Block):
    """Appends growth_rate channels to its input."""

    def __init__(self, dim, drop_path, config):
        super().__init__(dim, drop_path, config)
        self.dense_linear = nn.Linear(dim, config.growth_rate)

    def forward(self, x):
        return torch.cat([x, self.dense_linear(super().forward(x))], -1)


class Transition(nn.Module):
    """Halves the width between dense groups."""

    def __init__(self, dim):
        super().__init__()
        self.linear = nn.Linear(dim, dim // 2)

    def forward(self, x):
        return F.gelu(self.linear(x))


# ---- tokens


class TokenPerformer(nn.Module):
    """Attention by positive random features: linear in the number of tokens. The skip connection is v."""

    EPSILON = 1e-8

    def __init__(self, dim, width, config):
        super().__init__()
        features = width // 2
        self.w = nn.Parameter(nn.init.orthogonal_(torch.empty(features, width)) * math.sqrt(features), False)
        self.kqv = nn.Linear(dim, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(dim, config.norm_eps)
        self.norm2 = nn.LayerNorm(width, config.norm_eps)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width),
                                 nn.Dropout(config.token_dropout))
        self.dropout = nn.Dropout(config.token_dropout)

    def features(self, x):
        """(B, N, width) -> (B, N, width / 2)."""
        return torch.exp(x @ self.w.T - x.square().sum(-1, keepdim=True) / 2) / math.sqrt(self.w.shape[0])

    def forward(self, x):
        k, q, v = self.kqv(self.norm1(x)).chunk(3, -1)
        k, q = self.features(k), self.features(q)
        normaliser = q @ k.sum(1).unsqueeze(-1) + self.EPSILON
        x = v + self.dropout(self.proj(q @ (k.transpose(1, 2) @ v) / normaliser))
        return x + self.mlp(self.norm2(x))


class TokenAttention(nn.Module):
    """One head of `width`, scaled by the width of its input."""

    def __init__(self, dim, width, fused):
        super().__init__()
        self.scale, self.fused = dim**-0.5, fused
        self.qkv = nn.Linear(dim, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).unsqueeze(1).chunk(3, -1)
        return (v + self.proj(attend(q, k, v, self.scale, self.fused))).squeeze(1)


class TokenTransformer(nn.Module):
    """Full attention. The skip connection is v."""

    def __init__(self, dim, width, config):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, config.norm_eps)
        self.attn = TokenAttention(dim, width, config.fused)
        self.norm2 = nn.LayerNorm(width, config.norm_eps)
        self.mlp = Mlp(width, width)

    def forward(self, x):
        x = self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TokensToToken(nn.Module):
    """Three soft splits with a token layer after the first two."""

    def __init__(self, config):
        super().__init__()
        layer = {"performer": TokenPerformer, "transformer": TokenTransformer}[config.tokens_type]
        width, area = config.token_dim, [kernel**2 for kernel, _, _ in config.splits]
        self.splits = config.splits
        self.attention1 = layer(config.in_chans * area[0], width, config)
        self.attention2 = layer(width * area[1], width, config)
        self.project = nn.Linear(width * area[2], config.embed_dim)

    def forward(self, x):
        for split, layer in zip(self.splits, (self.attention1, self.attention2, self.project)):
            kernel, stride, padding = split
            if x.dim() == 3:
                x = x.transpose(1, 2).unflatten(-1, (math.isqrt(x.shape[1]), -1))
            x = layer(F.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2))
        return x


class ConvolutionTokens(nn.Module):
    """T2T-ViT_c: three convolutions and nothing else, under the names that the official class gives them."""

    def __init__(self, config):
        super().__init__()
        width = config.token_dim
        sizes = ((config.in_chans, width), (width, width), (width, config.embed_dim))
        convolutions = [nn.Conv2d(*size, *split) for size, split in zip(sizes, config.splits)]
        self.soft_split0, self.soft_split1, self.project = convolutions

    def forward(self, x):
        return self.project(self.soft_split1(self.soft_split0(x))).flatten(2).transpose(1, 2)


class PatchEmbed(nn.Module):
    def __init__(self, config):
        super().__init__()
        kernel = config.splits[0][0]
        self.proj = nn.Conv2d(config.in_chans, config.embed_dim, kernel, kernel)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


def split_side(config):
    """Tokens along one side of the grid that the backbone sees."""
    side = config.img_size
    for kernel, stride, padding in config.splits:
        side = (side + 2 * padding - kernel) // stride + 1
    return side


def sinusoids(rows, dim):
    """(1, rows, dim): even columns sine, odd columns cosine of row / 10000^(2 floor(column / 2) / dim)."""
    column = torch.arange(dim, dtype=torch.float64)
    angle = torch.arange(rows, dtype=torch.float64)[:, None] / 10000 ** (2 * (column // 2) / dim)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()[None]


# ---- the model


class T2T(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        dim, rows = config.embed_dim, split_side(config) ** 2 + 1
        patch, convolution = config.tokens_type == "patch", config.tokens_type == "convolution"
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, dim) if patch else sinusoids(rows, dim), patch)
        if patch:
            self.patch_embed = PatchEmbed(config)
        else:
            self.tokens_to_token = (ConvolutionTokens if convolution else TokensToToken)(config)
        self.blocks, features = self.make_blocks(config)
        self.norm = nn.LayerNorm(features, config.norm_eps)
        self.head = nn.Linear(features, config.num_classes)
        self.initialise()

    @staticmethod
    def make_blocks(config):
        """The blocks, and the width behind the last."""
        rates = torch.linspace(0, config.drop_path, config.depth).tolist()
        if config.variant != "dense":
            return nn.Sequential(*(Block(config.embed_dim, rate, config) for rate in rates)), config.embed_dim
        blocks, dim = [], config.embed_dim
        for group, count in enumerate(config.block_config):
            if group > 0:
                blocks.append(Transition(dim))
                dim //= 2
            for _ in range(count):
                blocks.append(DenseBlock(dim, rates[group], config))
                dim += config.growth_rate
        return nn.Sequential(*blocks), dim

    def initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv1d):
                nn.init.uniform_(module.weight, -1, 1)
        nn.init.normal_(self.cls_token, std=0.02)
        if self.pos_embed.requires_grad:
            nn.init.normal_(self.pos_embed, std=0.02)

    def forward(self, x):
        x = self.tokens(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])

    def tokens(self, x):
        return self.patch_embed(x) if self.config.tokens_type == "patch" else self.tokens_to_token(x)


def decays(name, tensor):
    """Whether AdamW decays a parameter, as timm groups them."""
    return tensor.requires_grad and tensor.dim() > 1 and not name.endswith(".bias") and name not in ("cls_token", "pos_embed")


def loss(logits, target, smoothing=0.1):
    """Mean cross-entropy against labels (B), smoothed, or against soft targets (B, classes)."""
    return F.cross_entropy(logits, target, label_smoothing=0.0 if target.is_floating_point() else smoothing)
