#!/usr/bin/env python3
"""elf_seeds.py - the seeds of tests/fuzz/fuzz_elf.c: small ELF files with a note, sound or not."""
import os
import struct

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "fuzz", "seeds", "elf")


def note(name=b"HONE\0", kind=1, desc=struct.pack("<4I", 1, 1, 72, 72), pad=4):
    up = lambda n: (n + pad - 1) // pad * pad
    head = struct.pack("<3I", len(name), len(desc), kind)
    body = (head + name).ljust(up(12 + len(name)), b"\0") + desc
    return body.ljust(up(len(body)), b"\0")


def elf(notes, machine=62, kind=3, cls=2, data=1, align=4, phnum=1, shoff=0, filesz=None):
    ident = b"\x7fELF" + bytes([cls, data, 1]) + bytes(9)
    head = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, shoff, 0, 64, 56, phnum,
                               64, 2 if shoff else 0, 0)
    size = len(notes) if filesz is None else filesz
    return head + struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, size, size, align) + notes


other = note(b"GNU\0", 3, bytes(20))
seeds = {
    "sound": elf(note()),
    "second_note": elf(other + note()),
    "aligned8": elf(note(b"GNU\0", 5, bytes(16), 8) + note(pad=8), align=8),
    "mixed_alignment": elf(other + note(), align=8),
    "other_abi": elf(note(desc=struct.pack("<4I", 2, 2, 72, 72))),
    "short_desc": elf(note(desc=bytes(8))),
    "huge_name": elf(struct.pack("<3I", 0xFFFFFFFF, 16, 1) + bytes(64)),
    "huge_desc": elf(struct.pack("<3I", 5, 0xFFFFFFFF, 1) + b"HONE\0" + bytes(64)),
    "huge_segment": elf(note(), filesz=(1 << 64) - 100),
    "machine": elf(note(), machine=2),
    "class32": elf(note(), cls=1),
    "big_endian": elf(note(), data=2),
    "executable": elf(note(), kind=2),
    "many_headers": elf(note(), phnum=65535),
    "sections_gone": elf(note(), shoff=4096),
    "no_note": elf(b""),
    "header_cut": elf(note())[:40],
    "empty": b"",
}
os.makedirs(OUT, exist_ok=True)
for name, data in seeds.items():
    with open(os.path.join(OUT, name), "wb") as file:
        file.write(data)
