"""A made-up face for a fake camera: a silhouette that sways before a colored wall, as a YUV4MPEG2 film."""

import math

WIDTH, HEIGHT, FRAMES, RATE = 640, 360, 24, 10
# Wall, coat and skin of each film, as luma and the two chroma values of BT.601.
PALETTES = (((90, 165, 105), (60, 140, 120), (170, 108, 150)), ((140, 115, 120), (75, 120, 150), (120, 112, 148)),
            ((110, 120, 150), (170, 125, 125), (185, 110, 146)), ((150, 135, 110), (65, 150, 125), (95, 115, 145)))


def _inside(x, y):
    """What is at a point, in units of the picture's height from its middle: 0 wall, 1 coat, 2 skin."""
    if (x / 0.135) ** 2 + ((y + 0.07) / 0.18) ** 2 < 1 or (abs(x) < 0.055 and 0.05 < y < 0.17):
        return 2
    return 1 if (x / 0.36) ** 2 + ((y - 0.52) / 0.36) ** 2 < 1 else 0


def _planes(palette):
    """The rows of the three planes, with a wall that grows darker downwards."""
    luma = []
    for row in range(HEIGHT):
        y = row / HEIGHT - 0.5
        shade = round(40 * (0.5 - y))
        kinds = [_inside((column - WIDTH / 2) / HEIGHT, y) for column in range(WIDTH)]
        luma.append(bytes(palette[kind][0] + shade - 20 for kind in kinds))
    chroma = [[], []]
    for row in range(0, HEIGHT, 2):
        kinds = [_inside((column - WIDTH / 2) / HEIGHT, row / HEIGHT - 0.5) for column in range(0, WIDTH, 2)]
        for plane in (0, 1):
            chroma[plane].append(bytes(palette[kind][plane + 1] for kind in kinds))
    return luma, *chroma


def write(path, number):
    """Writes the film of one of the people; it sways a little and can be repeated without a jump."""
    planes = _planes(PALETTES[number % len(PALETTES)])
    with open(path, "wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in range(FRAMES):
            sway = round(4 * math.sin(2 * math.pi * frame / FRAMES + number))
            file.write(b"FRAME\n")
            for plane, shift in zip(planes, (2 * sway, sway, sway)):
                for row in plane:
                    file.write(row[-shift:] + row[:-shift] if shift else row)
