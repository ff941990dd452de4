"""What to type for arrays that are no images yet, by their type and their values."""

from engine.types import Array

# Of bicubic resizing, in units of the largest value.
_OVERSHOOT = 0.2
_SENSORS = (10, 12, 14, 16)  # bits


def type_advice(array: Array, name: str) -> str:
    """Return how to convert an array of another type than uint8 and floats."""
    kind = array.dtype.kind
    if kind == "b":
        return f"Scale it: {name} * numpy.uint8(255)."
    if kind == "f":
        return f"Convert it: {name}.astype('float64')."
    if kind not in "iu" or not array.size:
        return "Pass the pixels as one of these types."
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high <= 255:
        return f"If its range is 0 to 255, pass {name}.astype('uint8')."
    if low < 0 and low >= -128 and high <= 127:
        return f"If its range is -128 to 127, shift it: ({name} + 128.0).astype('uint8')."
    scene = f"(({_minus(name, low)}) / {max(high - low, 1)} * 255).clip(0, 255).astype('uint8')"
    values = f"Its values are from {low} to {high}. Scale both images alike, by the range of "
    bits = sensor_bits(low, high)
    if bits is None:
        return f"{values}the scene: {scene}."
    shifted = f"{name} // 257" if bits == 16 else f"{name} >> {bits - 8}"
    return (
        f"{values}their sensor: ({shifted}).astype('uint8') for {bits} bits; or by that of the "
        f"scene: {scene}."
    )


def range_advice(low: float, high: float, name: str) -> str:
    """Return what to type, for each range that an image of floats with these values may have."""
    unit = f"if it is meant to be 0 to 1, clip it: {name}.clip(0, 1)"
    byte = f"if its range is 0 to 255, divide it: {name}.clip(0, 255) / 255"
    if low >= 0:
        bits = sensor_bits(low, high)
        if high < 300:
            ranges = [unit, byte] if high < 2 else [byte]  # the former may be a dark frame
        elif bits is not None:
            white = (1 << bits) - 1
            ranges = [f"if white is {white}, divide it: {name} / {white}"]
        else:
            ranges = [_scene(low, high, name)]
    else:
        ranges = _advice_below_zero(low, high, name, unit, byte)
    advice = "; ".join(ranges)
    return f"{advice[0].upper()}{advice[1:]}."


def _advice_below_zero(low: float, high: float, name: str, unit: str, byte: str) -> list[str]:
    signed = f"if its range is -1 to 1, shift it: (({name} + 1) / 2).clip(0, 1)"
    if low > -_OVERSHOOT and high < 1 + _OVERSHOOT:
        return [unit]
    if low > -0.6 and high < 0.6:
        half = f"if its range is -0.5 to 0.5, shift it: ({name} + 0.5).clip(0, 1)"
        return [signed, half]
    if low > -1 - _OVERSHOOT and high < 1 + _OVERSHOOT:
        return [signed]
    if low > -20 and high < 20:
        return [f"if it was normalised, undo that: {name} * deviation + mean"]
    if low > -20 and high < 300:
        return [byte]
    if low > -200 and high < 300:
        return [f"if a mean of 0 to 255 was subtracted, undo that: ({name} + mean) / 255"]
    return [_scene(low, high, name)]


def _scene(low: float, high: float, name: str) -> str:
    return (
        "scale both images alike, by the range of the scene: "
        f"(({_minus(name, low)}) / {high - low:.9g}).clip(0, 1)"
    )


def _minus(name: str, low: float) -> str:
    return f"{name} {'+' if low < 0 else '-'} {abs(low):.1f}"


def sensor_bits(low: float, high: float) -> int | None:
    """Return the bits of the sensor that has these values; None: of no sensor."""
    return next((bits for bits in _SENSORS if low >= 0 and high < 1 << bits), None)
