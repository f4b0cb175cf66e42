"""Chinese (simplified or traditional)."""

from __future__ import annotations

import re

from tasks.generate.languages.base import Language

# ruff: noqa: RUF001
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
KANA_HANGUL = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff]+")
LATIN_WORD = re.compile(r"[A-Za-z]+")
LEAST_HAN_SHARE = 0.7
"""Of the words; a name or a word on a sign may well be in Latin letters."""


def words(text: str) -> list[str]:
    """Characters, and words in Latin letters in lower case: no dictionary is needed to compare and count by them."""
    return WORD.findall(text.lower())


def is_chinese(text: str) -> bool:
    """Mostly Chinese characters, and not a language that uses some of them."""
    han, latin, others = (len(form.findall(text)) for form in (HAN, LATIN_WORD, KANA_HANGUL))
    if han + latin + others == 0:
        return True
    return han >= LEAST_HAN_SHARE * (han + latin + others) and others <= 0.05 * han


CHINESE = Language(
    code="zh",
    prompts="default_zh",
    question="问题",
    answer="回答",
    label=re.compile(r"\A(问题|回答)[ \t]*[:：][ \t]*\n?"),
    stray_label=re.compile(r"^[ \t]*(问题|回答)[ \t]*[:：]", re.MULTILINE),
    leaks=re.compile(
        r"标题中|字幕|图注|图片说明|边界框|检测框|标注框|矩形框|方框坐标|坐标|标注信息|物体检测"
        r"|(?:根据|按照|依据|基于)(?:以上|上述|上面|给出|给定|提供|所给|这些)?的?(?:描述|文字|句子|文本|信息|说明|资料)"
        r"|(?:给出|给定|提供|所给|上述|以上)的?(?:描述|文字|句子|文本|信息|说明|资料)"
        r"|(?:描述|句子|文字)(?:中|里)(?:提到|说|写|指出)"
        r"|\b(?:captions?|bounding[ -]box(?:es)?|coordinates?)\b",
        re.IGNORECASE,
    ),
    refusals=re.compile(
        r"作为(?:一个|一名)?(?:AI|人工智能|语言模型)|语言模型|(?:很)?抱歉|对不起，我"
        r"|我(?:无法|不能|没办法)(?:看到|看见|查看|帮助|回答|描述|提供|确定|判断)|我看不到(?:图|这)"
        r"|\bas an ai\b|\blanguage model\b|\bi(?:'m| am) sorry\b",
        re.IGNORECASE,
    ),
    again="这个回答不能用：{reason}。请按要求的格式用中文重新写一遍。",
    complaints={
        "empty": "内容是空的",
        "cut off": "太长，没有写完就被截断了",
        "form": "每一部分都要以“问题：”或“回答：”开头，各部分之间用单独一行的 === 隔开；详细描述里不能有这些标记",
        "number": "只要一个问题和一个回答",
        "empty question": "有一个“问题：”后面没有内容",
        "empty answer": "有一个“回答：”后面没有内容",
        "answer without question": "有一个回答前面没有问题",
        "question without answer": "有一个问题后面没有回答",
        "too long": "有一部分太长，或者问题太多",
        "refusal": "里面有拒绝回答或谈论自己的话",
        "leak": "里面提到了所给的文字，而不是画面本身",
        "coordinates": "里面出现了坐标数字",
        "markup": "里面有不是普通文字的标记",
        "language": "不是用中文写的",
        "unsupported objects": "里面提到了画面中没有依据的物体",
    },
    words=words,
    is_written=is_chinese,
    question_types=(
        ("how many", re.compile(r"多少|几(?:个|只|位|辆|条|张|把|人|名|匹|头|种|台|棵|朵|块|架|艘|本|双)")),
        ("colour", re.compile(r"颜色|什么色")),
        ("describe", re.compile(r"描述|说说|讲讲|介绍|仔细看")),
        ("where", re.compile(r"哪里|哪儿|何处|什么地方|什么位置|哪一?边|在哪")),
        ("why", re.compile(r"为什么|为何|原因|怎么会")),
        ("how", re.compile(r"怎么|怎样|如何")),
        ("who", re.compile(r"谁")),
        ("when", re.compile(r"什么时候|何时|几点|什么时间|什么季节")),
        ("which", re.compile(r"哪")),
        ("what", re.compile(r"什么|啥")),
        ("yes or no", re.compile(r"吗|是不是|有没有|是否|能不能|会不会")),
    ),
)
