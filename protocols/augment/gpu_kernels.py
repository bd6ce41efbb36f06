"""Kernels in Triton that make views on a GPU.

A GPU waits for its memory more than it computes. A program of the first kernel makes one view: it reads the view's
pixels from the stored image, takes them through all operations in registers, and writes the finished view. Contrast is
changed around the mean luminance that a view has at that point, so the program goes over its pixels twice, the first
time for this mean. A blur needs the neighbours of a pixel: a view to be blurred is written unfinished, then read and
written once along each axis.

The operations are those of the other modules of this folder.
"""

from __future__ import annotations

import triton
from triton import language as tl


@triton.jit(do_not_specialize=["views"])
def crop_and_colour(
    images,
    index,
    top,
    left,
    height,
    width,
    flip,
    operation,
    factor,
    grayscale,
    blur,
    solarize,
    out,
    mean_red,
    std_red,
    mean_green,
    std_green,
    mean_blue,
    std_blue,
    views,
    side: tl.constexpr,
    size: tl.constexpr,
    taps: tl.constexpr,
    bicubic: tl.constexpr,
    wide: tl.constexpr,
    jitter: tl.constexpr,
    contrast: tl.constexpr,
    grey: tl.constexpr,
    block: tl.constexpr,
):
    """One view: crop, resize, flip, colour jitter, grayscale; solarisation and normalisation unless it is blurred."""
    view = tl.program_id(0)
    image = images + tl.load(index + view) * (3 * side * side)
    first_row, rows = tl.load(top + view), tl.load(height + view)
    first_column, columns = tl.load(left + view), tl.load(width + view)
    flipped = tl.load(flip + view)
    mean_grey = 0.0
    if contrast:
        total = tl.zeros([block], tl.float32)
        for start in range(0, size * size, block):
            pixel = start + tl.arange(0, block)
            red, green, blue = crop(
                image, pixel, first_row, rows, first_column, columns, flipped, side, size, taps, bicubic, wide
            )
            before = tl.zeros([block], tl.float32)
            for number in tl.static_range(4):
                kind = tl.load(operation + number * views + view)
                before = tl.where(kind == 1, luminance(red, green, blue), before)
                amount = tl.load(factor + number * views + view)
                red, green, blue = change_colours(red, green, blue, kind, amount, 0.0)
            total += tl.where(pixel < size * size, before, 0.0)
        mean_grey = tl.sum(total) / (size * size)
    for start in range(0, size * size, block):
        pixel = start + tl.arange(0, block)
        red, green, blue = crop(
            image, pixel, first_row, rows, first_column, columns, flipped, side, size, taps, bicubic, wide
        )
        if jitter:
            for number in tl.static_range(4):
                kind = tl.load(operation + number * views + view)
                amount = tl.load(factor + number * views + view)
                red, green, blue = change_colours(red, green, blue, kind, amount, mean_grey)
        if grey:
            if tl.load(grayscale + view):
                red = luminance(red, green, blue)
                green = red
                blue = red
        if not tl.load(blur + view):
            inverted = tl.load(solarize + view)
            red = finished(red, inverted, mean_red, std_red)
            green = finished(green, inverted, mean_green, std_green)
            blue = finished(blue, inverted, mean_blue, std_blue)
        write(out, view, pixel, red, green, blue, size)


@triton.jit
def blur_along_axis(
    source,
    target,
    blur,
    sigma,
    solarize,
    mean_red,
    std_red,
    mean_green,
    std_green,
    mean_blue,
    std_blue,
    size: tl.constexpr,
    radius: tl.constexpr,
    across: tl.constexpr,
    block: tl.constexpr,
):
    """One view, if it is blurred: down its columns; or across its rows, and then finished."""
    view = tl.program_id(0)
    if tl.load(blur + view):
        deviation = tl.load(sigma + view)
        for start in range(0, size * size, block):
            pixel = start + tl.arange(0, block)
            inside = pixel < size * size
            row, column = pixel // size, pixel % size
            red = tl.zeros([block], tl.float32)
            green, blue, total = red, red, 0.0
            for offset in range(-radius, radius + 1):
                weight = tl.exp(-0.5 * (offset / deviation) * (offset / deviation))
                if across:
                    neighbour = row * size + reflected(column + offset, size)
                else:
                    neighbour = reflected(row + offset, size) * size + column
                address = source + (view.to(tl.int64) * size * size + neighbour) * 3
                red += weight * tl.load(address, mask=inside, other=0.0).to(tl.float32)
                green += weight * tl.load(address + 1, mask=inside, other=0.0).to(tl.float32)
                blue += weight * tl.load(address + 2, mask=inside, other=0.0).to(tl.float32)
                total += weight
            red, green, blue = red / total, green / total, blue / total
            if across:
                inverted = tl.load(solarize + view)
                red = finished(red, inverted, mean_red, std_red)
                green = finished(green, inverted, mean_green, std_green)
                blue = finished(blue, inverted, mean_blue, std_blue)
            write(target, view, pixel, red, green, blue, size)


@triton.jit
def write(out, view, pixel, red, green, blue, size: tl.constexpr):
    """Write pixels of a view."""
    address = out + (view.to(tl.int64) * size * size + pixel) * 3
    inside = pixel < size * size
    tl.store(address, red.to(out.dtype.element_ty), mask=inside)
    tl.store(address + 1, green.to(out.dtype.element_ty), mask=inside)
    tl.store(address + 2, blue.to(out.dtype.element_ty), mask=inside)


@triton.jit
def crop(
    image,
    pixel,
    first_row,
    rows,
    first_column,
    columns,
    flipped,
    side: tl.constexpr,
    size: tl.constexpr,
    taps: tl.constexpr,
    bicubic: tl.constexpr,
    wide: tl.constexpr,
):
    """Red, green and blue in [0, 1] of pixels of a cropped, resized and flipped view."""
    pixel = tl.minimum(pixel, size * size - 1)
    output_row, output_column = pixel // size, pixel % size
    output_column = tl.where(flipped, size - 1 - output_column, output_column)
    row_centre, first_row_tap, row_stretch = first_tap(output_row, rows, size, taps, bicubic, wide)
    column_centre, first_column_tap, column_stretch = first_tap(output_column, columns, size, taps, bicubic, wide)
    red = tl.zeros_like(row_centre)
    green, blue, row_total, column_total = red, red, red, red
    for row_tap in range(taps):
        row, row_weight = tap(row_centre, first_row_tap + row_tap, row_stretch, first_row, rows, side, bicubic, wide)
        row_total += row_weight
        column_total = tl.zeros_like(row_centre)
        for column_tap in range(taps):
            column, weight = tap(
                column_centre, first_column_tap + column_tap, column_stretch, first_column, columns, side, bicubic, wide
            )
            column_total += weight
            weight *= row_weight
            address = image + row * (3 * side) + column
            red += weight * tl.load(address).to(tl.float32)
            green += weight * tl.load(address + side).to(tl.float32)
            blue += weight * tl.load(address + 2 * side).to(tl.float32)
    scale = tl.full([1], 1 / 255, tl.float32)
    if wide:
        scale = 1 / (255 * row_total * column_total)
    return red * scale, green * scale, blue * scale


@triton.jit
def first_tap(output, length, size: tl.constexpr, taps: tl.constexpr, bicubic: tl.constexpr, wide: tl.constexpr):
    """Of an output pixel along one axis: its centre and the first pixel with a weight, in the box, and the stretch."""
    centre = (output + 0.5) * (length / size) - 0.5
    stretch = tl.full([1], 1.0, tl.float32)
    if wide:
        stretch = tl.maximum(length / size, 1.0) + tl.zeros_like(stretch)
        first = tl.floor(centre - stretch * (2 if bicubic else 1)) + 1
    else:
        if not bicubic:
            centre = tl.minimum(tl.maximum(centre, 0.0), length - 1)
        first = tl.floor(centre) - taps // 2 + 1
    return centre, first, stretch


@triton.jit
def tap(centre, pixel, stretch, start, length, side: tl.constexpr, bicubic: tl.constexpr, wide: tl.constexpr):
    """The pixel of the image, and its weight, of a pixel of the box; one inside with weight 0 for those outside."""
    distance = tl.abs(centre - pixel) / stretch
    if bicubic:
        weight = cubic(distance, -0.5 if wide else -0.75)
    else:
        weight = tl.maximum(1.0 - distance, 0.0)
    if wide:
        weight = tl.where((pixel >= 0) & (pixel < length), weight, 0.0)
    else:
        pixel = tl.minimum(tl.maximum(pixel, 0.0), length - 1)
    position = pixel + start
    weight = tl.where((position >= 0) & (position < side), weight, 0.0)
    return tl.minimum(tl.maximum(position, 0.0), side - 1.0).to(tl.int32), weight


@triton.jit
def cubic(x, a: tl.constexpr):
    """The bicubic filter of Keys (1981) with parameter ``a``, of distances x ≥ 0."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return tl.where(x < 1, near, tl.where(x < 2, far, 0.0))


@triton.jit
def change_colours(red, green, blue, kind, factor, mean_grey):
    """One operation of the colour jitter: none (below 0), brightness, contrast, saturation, hue."""
    target = tl.where(kind == 2, luminance(red, green, blue), 0.0)
    target = tl.where(kind == 1, mean_grey, target)
    high = tl.maximum(tl.maximum(red, green), blue)
    low = tl.minimum(tl.minimum(red, green), blue)
    chroma = high - low
    from_middle = (low + red - green - blue) / tl.maximum(chroma, 1e-8) + 2.0
    turned = factor + 1.5 - tl.where(green >= blue, from_middle, -from_middle) / 6.0
    sixths = (turned - tl.floor(turned)) * 6.0
    return (
        changed(red, high - chroma * clamped(2.0 - tl.abs(sixths - 3.0)), target, kind, factor),
        changed(green, high - chroma * clamped(tl.abs(sixths - 2.0) - 1.0), target, kind, factor),
        changed(blue, high - chroma * clamped(tl.abs(sixths - 4.0) - 1.0), target, kind, factor),
    )


@triton.jit
def changed(channel, shifted, target, kind, factor):
    """A channel after an operation: ``shifted`` after a change of hue, else blended with ``target``."""
    result = tl.where(kind == 3, shifted, clamped(target + (channel - target) * factor))
    return tl.where(kind >= 0, result, channel)


@triton.jit
def clamped(x):
    """Clamp to [0, 1]."""
    return tl.minimum(tl.maximum(x, 0.0), 1.0)


@triton.jit
def luminance(red, green, blue):
    """Luminance by ITU-R 601."""
    return red * 0.2989 + green * 0.587 + blue * 0.114


@triton.jit
def finished(x, inverted, mean, std):
    """A channel after solarisation, which inverts values of at least one half, if asked for; normalised."""
    return (tl.where(inverted & (x >= 0.5), 1.0 - x, x) - mean) / std


@triton.jit
def reflected(position, size: tl.constexpr):
    """A position within a row of ``size``, reflected at its ends."""
    distance = tl.abs(position)
    return tl.minimum(distance, 2 * (size - 1) - distance)
