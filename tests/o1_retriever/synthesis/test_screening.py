"""Which candidates may stand, each reason on texts made for it."""

from __future__ import annotations

import pytest

from o1_retriever.synthesis.screening import screen

QUERY = "Who wrote the first published computer program?"
POSITIVES = ["Ada Lovelace wrote the first published program, for the Analytical Engine of Charles Babbage."]
GOOD = "Ada Lovelace, an English mathematician, wrote the first program for Babbage's engine in 1843."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("I’m sorry, I cannot answer this.", "refused"),
        ("As an AI language model, I do not browse.", "refused"),
        ("I cannot answer this question.", "refused"),
        ("Ada wrote it.<emb> Really.", "special tokens"),
        ("Ada wrote it.</query><thought>", "special tokens"),
        ("<|im_start|>assistant Ada wrote it.", "special tokens"),
        ("Ada wrote it.</s>", "special tokens"),
        ("Ada\0wrote it.", "special tokens"),
        ("Ada \ud800 wrote it.", "special tokens"),
        ("ada lovelace, an english mathematician, wrote the first program for babbage's engine in 1843", "repeated"),
        ("Ada Lovelace war eine britische Mathematikerin, die das erste Programm der Welt geschrieben hat.",
         "another language"),
        ("阿达·洛芙莱斯为查尔斯·巴贝奇的分析机编写了世界上第一个程序，她是一位英国数学家。", "another language"),
    ],
)  # fmt: skip
def test_reasons(text: str, reason: str) -> None:
    found = screen([GOOD, text], QUERY, POSITIVES)
    assert found.texts == [GOOD]
    assert dict(found.dropped) == {reason: 1}


@pytest.mark.parametrize(
    "text",
    [
        "Sorry, Wrong Number is a 1948 American thriller and film noir directed by Anatole Litvak.",
        "I Can't Help Myself (Sugar Pie, Honey Bunch) is a 1965 song recorded by the Four Tops.",
        "Sorry is a 2015 song by Justin Bieber; the question asks for its producers, Skrillex and BloodPop.",
        "x < y and y > z; a <b>bold</b> tag is no special token.",
        "Lovelace.",
        "I can think of two programmers: Ada Lovelace and Grace Hopper.",
    ],
)
def test_good_texts_stay(text: str) -> None:
    assert screen([text], QUERY, POSITIVES).texts == [text]


def test_german_questions_take_german_thoughts() -> None:
    query = "Wer hat das erste Computerprogramm der Welt geschrieben und wann wurde es veröffentlicht?"
    text = "Ada Lovelace war eine britische Mathematikerin, die das erste Programm der Welt geschrieben hat."
    assert screen([text], query, [text + " Es erschien im Jahr 1843 in London."]).texts == [text]


def test_trims_and_keeps_the_order() -> None:
    assert screen(["  Bees dance. ", "Bees fly."], "How do bees talk?", []).texts == ["Bees dance.", "Bees fly."]
