"""Deformable attention among an encoder's own tokens, in the language of Triton.

A program has a block of queries of one head and all their samples at once. Centres follow from a
query's index, offsets and scores are read as the one linear layer wrote them, and the softmax is
inside, so that neither locations nor weights exist in memory. This module needs Triton, so it is
imported by ``triton_attention`` alone, when the kernel is to run.

Shapes: B images, N tokens, M heads, L levels, P points of a level, S = L * P samples, D channels of
a head. Tiles have ``queries`` x ``samples`` x ``channels``, the last two powers of two from S and D
on. Samples stand in the middle: there Triton gives all of a query and channel to one thread, which
sums them. Of the other constants ``kind`` is the type of sums and ``index`` that of places.
"""

import triton
import triton.language as tl


@triton.jit
def _find_block(num_tokens, M: tl.constexpr, queries: tl.constexpr):
    """Image (int64), head and tokens of this program; the heads of a block are neighbours."""
    program = tl.program_id(0)
    blocks = tl.cdiv(num_tokens, queries)
    tokens = (program // M) % blocks * queries + tl.arange(0, queries)
    return (program // M // blocks).to(tl.int64), program % M, tokens


@triton.jit
def _find_centres(tokens, sizes, starts, L: tl.constexpr, kind: tl.constexpr):
    """Centres (x, y) of tokens in their level, in [0, 1]."""
    height = tl.full(tokens.shape, 1, tl.int32)
    width = tl.full(tokens.shape, 1, tl.int32)
    first = tl.full(tokens.shape, 0, tl.int32)
    for level in tl.static_range(L):
        h = tl.load(sizes + 2 * level).to(tl.int32)
        w = tl.load(sizes + 2 * level + 1).to(tl.int32)
        start = tl.load(starts + level).to(tl.int32)
        here = (tokens >= start) & (h > 0) & (w > 0)  # the last that is true is the token's
        height, width = tl.where(here, h, height), tl.where(here, w, width)
        first = tl.where(here, start, first)
    place = tokens - first
    x = ((place % width).to(kind) + 0.5) / width.to(kind)
    y = ((place // width).to(kind) + 0.5) / height.to(kind)
    return x, y


@triton.jit
def _weigh_samples(
    rows, head, used, M: tl.constexpr, S: tl.constexpr, samples: tl.constexpr, kind: tl.constexpr
):
    """Softmax of the scores, (queries, samples); 0 for what is not a sample."""
    sample = tl.arange(0, samples)[None, :]
    scores = tl.load(rows + (2 * M + head) * S + sample, mask=used, other=float('-inf')).to(kind)
    scores = tl.where(sample < S, tl.where(used, scores, 0.0), float('-inf'))
    shares = tl.exp(scores - tl.max(scores, 1)[:, None])
    return shares / tl.sum(shares, 1)[:, None]


@triton.jit
def _find_pixel(at, centres, sides):
    """Pixel before a sample on one axis, the share of the one behind, and if one is inside.

    A sample that is far outside, or not a number, is at 0 and counts as outside.
    """
    position = centres[:, None] * sides.to(centres.dtype) + at.to(centres.dtype) - 0.5
    near = (position > -1) & (position < sides)
    position = tl.where(near, position, 0.0)
    before = tl.floor(position)
    return before.to(tl.int32), position - before, near


@triton.jit
def _find_samples(
    rows, head, tokens, used, sizes, starts,
    M: tl.constexpr, L: tl.constexpr, P: tl.constexpr, samples: tl.constexpr, kind: tl.constexpr,
):  # fmt: skip
    """Pixel at the upper left of each sample, shares of right and lower ones, and its level.

    Returns:
        left, top, share_x, share_y, near of shape (queries, samples), and heights, widths and first
        tokens of shape (1, samples).
    """
    sample = tl.arange(0, samples)[None, :]
    level, real = sample // P, sample < L * P
    heights = tl.load(sizes + 2 * level, mask=real, other=0).to(tl.int32)
    widths = tl.load(sizes + 2 * level + 1, mask=real, other=0).to(tl.int32)
    firsts = tl.load(starts + level, mask=real, other=0).to(tl.int32)
    x, y = _find_centres(tokens, sizes, starts, L, kind)
    offsets = rows + (head * L * P + sample) * 2
    left, share_x, near_x = _find_pixel(tl.load(offsets, mask=used, other=0.0), x, widths)
    top, share_y, near_y = _find_pixel(tl.load(offsets + 1, mask=used, other=0.0), y, heights)
    return left, top, share_x, share_y, used & near_x & near_y, heights, widths, firsts


@triton.jit
def _find_corner(
    left, top, share_x, share_y, near, heights, widths, firsts,
    right: tl.constexpr, lower: tl.constexpr,
):  # fmt: skip
    """One of the four pixels around each sample: its token, if it is inside, its two shares."""
    x, y = left + right, top + lower
    inside = near & (x >= 0) & (x < widths) & (y >= 0) & (y < heights)
    across = share_x if right else 1 - share_x
    down = share_y if lower else 1 - share_y
    return firsts + y * widths + x, inside, across, down


@triton.jit(do_not_specialize=['num_tokens'])
def attend(
    value, numbers, sizes, starts, output, num_tokens,
    M: tl.constexpr, L: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    queries: tl.constexpr, samples: tl.constexpr, channels: tl.constexpr,
    kind: tl.constexpr, index: tl.constexpr,
):  # fmt: skip
    """Sum the weighted samples of a block of queries of one head.

    Pointers:
        value: Values of shape (B, N, M, D).
        numbers: Offsets (M, L, P, 2) in pixels, then scores (M, L, P) of each token, of shape
            (B, N, 3 * M * S).
        sizes: (height, width) of the levels, int64 of shape (L, 2).
        starts: First token of each level, int64 of shape (L,).
        output: Sums, as ``value``.
    """
    image, head, tokens = _find_block(num_tokens, M, queries)
    token_rows = (image * num_tokens + tokens)[:, None]
    rows = numbers + token_rows * (3 * M * L * P)
    used = (tokens < num_tokens)[:, None] & (tl.arange(0, samples) < L * P)[None, :]
    left, top, share_x, share_y, near, heights, widths, firsts = _find_samples(
        rows, head, tokens, used, sizes, starts, M, L, P, samples, kind
    )
    weights = _weigh_samples(rows, head, used, M, L * P, samples, kind)
    channel = tl.arange(0, channels)
    pixels = value + image * num_tokens * (M * D) + head * D + channel[None, None, :]
    sums = tl.zeros([queries, channels], kind)
    for corner in tl.static_range(4):
        token, inside, across, down = _find_corner(
            left, top, share_x, share_y, near, heights, widths, firsts, corner % 2, corner // 2
        )
        places = pixels + token.to(index)[:, :, None] * (M * D)
        mask = inside[:, :, None] & (channel < D)[None, None, :]
        taken = tl.load(places, mask=mask, other=0.0).to(kind)
        sums += tl.sum((weights * across * down)[:, :, None] * taken, 1)
    to = output + token_rows * (M * D) + head * D + channel[None, :]
    mask = (tokens < num_tokens)[:, None] & (channel < D)[None, :]
    tl.store(to, sums.to(output.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['num_tokens'])
def differentiate(
    value, numbers, sizes, starts, gradient, value_gradient, numbers_gradient, num_tokens,
    M: tl.constexpr, L: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    queries: tl.constexpr, samples: tl.constexpr, channels: tl.constexpr,
    kind: tl.constexpr, index: tl.constexpr,
):  # fmt: skip
    """Gradients of what ``attend`` was given, from the gradient of its output.

    Pointers:
        value, numbers, sizes, starts: As for ``attend``.
        gradient: Gradient of the output, of shape (B, N, M, D).
        value_gradient: Zeros of that shape and type ``kind``, to which the gradient is added.
        numbers_gradient: Gradient of ``numbers``, of which every entry is written.
    """
    image, head, tokens = _find_block(num_tokens, M, queries)
    token_rows = (image * num_tokens + tokens)[:, None]
    rows = numbers + token_rows * (3 * M * L * P)
    sample = tl.arange(0, samples)[None, :]
    used = (tokens < num_tokens)[:, None] & (sample < L * P)
    left, top, share_x, share_y, near, heights, widths, firsts = _find_samples(
        rows, head, tokens, used, sizes, starts, M, L, P, samples, kind
    )
    weights = _weigh_samples(rows, head, used, M, L * P, samples, kind)
    channel = tl.arange(0, channels)
    upstream = tl.load(
        gradient + token_rows * (M * D) + head * D + channel[None, :],
        mask=(tokens < num_tokens)[:, None] & (channel < D)[None, :],
        other=0.0,
    ).to(kind)[:, None, :]
    pixel_offsets = image * num_tokens * (M * D) + head * D + channel[None, None, :]
    per_sample = tl.zeros_like(weights)
    per_x = tl.zeros_like(weights)
    per_y = tl.zeros_like(weights)
    for corner in tl.static_range(4):
        token, inside, across, down = _find_corner(
            left, top, share_x, share_y, near, heights, widths, firsts, corner % 2, corner // 2
        )
        places = pixel_offsets + token.to(index)[:, :, None] * (M * D)
        mask = inside[:, :, None] & (channel < D)[None, None, :]
        taken = tl.load(value + places, mask=mask, other=0.0).to(kind)
        per_pixel = tl.sum(taken * upstream, 2)
        per_sample += across * down * per_pixel
        per_x += (down if corner % 2 else -down) * per_pixel
        per_y += (across if corner // 2 else -across) * per_pixel
        shares = (weights * across * down)[:, :, None] * upstream
        tl.atomic_add(value_gradient + places, shares, mask=mask, sem='relaxed')
    narrow = numbers_gradient.dtype.element_ty
    rows = numbers_gradient + token_rows * (3 * M * L * P)
    offsets = rows + (head * L * P + sample) * 2
    tl.store(offsets, (weights * per_x).to(narrow), mask=used)
    tl.store(offsets + 1, (weights * per_y).to(narrow), mask=used)
    mean = tl.sum(weights * per_sample, 1)[:, None]
    scores = rows + (2 * M + head) * L * P + sample
    tl.store(scores, (weights * (per_sample - mean)).to(narrow), mask=used)
