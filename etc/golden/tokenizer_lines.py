"""The texts that tokenizers are compared on: 10,000 short lines of mixed UTF-8.

Deterministic (its own generator, a seed), so that a second run makes the same file.  A line may
hold any character but those that are not assigned; it may hold line breaks.
"""
import unicodedata

N_LINES = 10000

SCRIPTS = [
    "the quick brown fox jumps over lazy dog and it was not what they expected from him",
    "Ünïcödé naïve façade Größe straße Łódź Çelik İstanbul ıssız œuvre ÆON ßharp",
    "Καλημέρα κόσμε Ελλάδα ΣΟΦΟΣ ὕβρις ἄνθρωπος",
    "Привет мир ёлка Ѣ русский ЯЗЫК їжак",
    "مرحبا بالعالم السلام عليكم ـــ لغة",
    "שלום עולם עִבְרִית",
    "नमस्ते दुनिया क्षत्रिय हिन्दी",
    "สวัสดีชาวโลก ภาษาไทย",
    "你好世界 漢字 简体 龍 㐀 𠀀𠮷 侮 豈",
    "こんにちは 世界 カタカナ ｶﾀｶﾅ がぎぐ ゔ",
    "안녕하세요 세계 한국어 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "Ꭰ Ꮳ ᚠᚢᚦ ⲁⲃⲅ 𐌰𐌱 𝐀𝐁𝒞 ℵ ℝ ﬁ ﬀ Ⅷ ⅳ ǅ ʰ",
]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇫🇷🇯🇵", "❤️", "☃", "1️⃣", "🧑🏿‍🚀", "🫠", "♾️", "\U0001F9D1", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
COMBINING = ["\u0301", "\u0308", "\u0323", "\u0307", "\u20dd", "\u0489", "\u3099", "\ufe0f", "\u093c", "\u0e49"]
DIGITS = ["0", "1", "7", "42", "2024", "3.14159", "1,000,000", "0xFF", "٣٤٥", "१२३", "５６", "½", "²", "Ⅻ", "①", "𝟘𝟙", "〇", "6e-23"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\u180e",
          "\u200b", "\ufeff", "\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\r", "        ", "\t\t", " \t \n  "]
CODE = ["for (int i = 0; i < n; ++i) { x[i] += 1; }", "def f(a, *b, **c): return a[::-1]", "</div><br/>",
        "SELECT * FROM t WHERE a='b';", "x->y = &z; // ok", "#include <stdio.h>", "{\"key\": [1, 2.5, null]}",
        "\\frac{1}{2} \\alpha", "https://example.org/a?b=c&d=%20", "a_b__c-D", "!!!???...", "/* */", "$PATH ${x}", "//////", "===>"]
CONTRACTIONS = ["don't", "I'm", "we'll", "they've", "you're", "he'd", "it's", "DON'T", "We'Ll", "'tis", "x'S", "y'ſ", "'s", "''ll", "O'Re", "l'été"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>user\n", "<|im_", "im_end|>", "<|<|im_end|>|>",
            "<mask>", " <mask> ", "<s>", "</s>", "<|begin_of_text|>", "<|eot_id|>", "<tool>", "<tool>x", "wordtok", "awordtok", "wordtok wordtok!"]


class Generator:
    """A 64-bit linear congruential generator; the high bits are used."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n

    def pick(self, items):
        return items[self.below(len(items))]


def any_character(g):
    """A random assigned character of old enough Unicode that all tables know it."""
    old = unicodedata.ucd_3_2_0
    while True:
        c = chr(g.below(0x3000) if g.below(3) else g.below(0x30000))
        if old.category(c) not in ("Cn", "Cs", "Co"):
            return c


def word(g):
    w = g.pick(g.pick(SCRIPTS).split())
    if g.below(6) == 0:
        w = w.upper()
    if g.below(8) == 0:
        w += g.pick(COMBINING)
    if g.below(12) == 0:
        w = unicodedata.normalize("NFD", w)
    return w


def control(g):
    return chr(g.pick([g.below(32), g.below(32), 127, 128 + g.below(32)]))


def part(g):
    kind = g.below(20)
    if kind < 8:
        return word(g)
    makers = {8: lambda: g.pick(EMOJI), 9: lambda: g.pick(DIGITS), 10: lambda: g.pick(CODE),
              11: lambda: g.pick(CONTRACTIONS), 12: lambda: g.pick(SPECIALS), 13: lambda: control(g),
              14: lambda: "".join(any_character(g) for _ in range(1 + g.below(4))),
              15: lambda: g.pick(COMBINING), 16: lambda: str(g.below(10**(1 + g.below(7)))),
              17: lambda: g.pick(["é", "e\u0301", "Å", "A\u030a", "ﷺ", "ẛ\u0323"]), 18: lambda: g.pick(SPECIALS)}
    return makers.get(kind, lambda: word(g))()


def line(g):
    pieces = []
    for _ in range(1 + g.below(9)):
        pieces.append(part(g))
        separator = g.below(10)
        pieces.append(" " if separator < 6 else g.pick(SPACES) if separator < 8 else "")
    return "".join(pieces)


def lines(n=N_LINES, seed=2024):
    g = Generator(seed)
    return [""] + [line(g) for _ in range(n - 1)]
