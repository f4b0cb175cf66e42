"""Every word that the page shows, in its languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENGLISH = {
    "name": "English",
    "title": "llavaflow chat",
    "subtitle": "Enter sends, Shift+Enter is a new line, Esc stops. Answers can be wrong.",
    "chat": "Chat",
    "compare": "Compare two models",
    "mode": "Mode",
    "model": "Model version",
    "temperature": "Temperature",
    "temperature_info": "0 always gives the likeliest answer",
    "length": "Longest answer, in tokens",
    "settings": "Settings",
    "new": "New conversation",
    "theme": "Light / dark",
    "language": "中文",
    "ask": "Ask about an image: drop, paste or pick one",
    "describe": "What is in this image?",
    "answer": "Answer",
    "side_a": "Model A",
    "side_b": "Model B",
    "empty": "### Drop an image here, paste one, or pick one\nThen ask about it. Or begin with an example:",
    "empty_side": "Both models get the same question; their names are shown once you have voted.",
    "example_1": "What shapes are there?",
    "example_2": "Describe this image in detail.",
    "example_3": "What colour is the largest shape?",
    "working": "answering …",
    "answered": "{model} answered: {tokens} tokens in {seconds} s",
    "stopped": "Stopped. What was said so far is kept.",
    "ready": "Ready: {models}",
    "gone": "The model's server does not answer; trying again every few seconds. Nothing is lost.",
    "back": "The model's server is back.",
    "vote_a": "A is better",
    "vote_b": "B is better",
    "vote_both": "Both are good",
    "vote_neither": "Both are bad",
    "vote_ask": "Which answer is better? The names are shown after your vote.",
    "revealed": "Thank you. Model A is **{a}**, model B is **{b}**.",
    "vote_first": "Ask something first, then vote.",
    "two_needed": "To compare, the server has to offer two models; it offers {models}.",
    "said_good": "Marked as good. Would you say why?",
    "said_bad": "Marked as bad. What was wrong, and what should the answer be?",
    "reasons": "Reason",
    "reason_wrong": "not what the image shows",
    "reason_made_up": "made something up",
    "reason_incomplete": "incomplete",
    "reason_unclear": "hard to understand",
    "reason_harmful": "harmful or rude",
    "reason_else": "In your words",
    "correction": "What should the answer be?",
    "correction_info": "Leave it as it is if the answer needs no change",
    "send": "Send feedback",
    "close": "Close",
    "thanks": "Thank you. Your feedback is kept.",
    "taken_back": "Your feedback on this answer is taken back.",
    "consent": "Models may learn from my feedback, with the images and words of this conversation",
    "consent_info": "Off: it is kept for quality only. A person reviews it before any model learns from it.",
    "you": "You are **{user}** here. Name this to have your feedback deleted.",
    "privacy": "Privacy",
    "not_an_image": "{name} is no image that can be read. JPEG, PNG, WebP, BMP and GIF can be.",
    "too_many_pixels": "{name} has {pixels} megapixels; at most {limit} can be used. Make it smaller and try again.",
    "too_large": "{name} has {size} MB; at most {limit} MB can be used. Make it smaller and try again.",
    "too_many_images": "{number} images in one conversation are too many; at most {limit} can be used.",
    "kept": "Your words are kept in the box.",
    "error_gone": "The model's server does not answer. Your question is kept: press retry (↻) once it is back.",
    "error_cut": "The server broke off in the middle of the answer. What it said is kept; press retry (↻) for another.",
    "error_busy": "The server is busy. Your question is kept: press retry (↻) in a moment.",
    "error_slow": "The server took too long. Your question is kept: press retry (↻).",
    "error_refused": "The server refused the question: {detail}",
    "error_model": "The server does not know this model: {detail}",
    "error_key": "The server wants another API key: {detail}",
    "error_failed": "The server failed: {detail}. Your question is kept: press retry (↻).",
    "empty_answer": "The model gave an empty answer. Press retry (↻), or ask in other words.",
}
CHINESE = {
    "name": "中文",
    "title": "llavaflow 对话",
    "subtitle": "回车发送,Shift+回车换行,Esc 停止。回答可能有误。",
    "chat": "对话",
    "compare": "比较两个模型",
    "mode": "模式",
    "model": "模型版本",
    "temperature": "温度",
    "temperature_info": "0 表示总是给出最可能的回答",
    "length": "回答的最大长度(词元)",
    "settings": "设置",
    "new": "新对话",
    "theme": "浅色 / 深色",
    "language": "English",
    "ask": "就图片提问:拖入、粘贴或选择图片",
    "describe": "这张图片里有什么?",
    "answer": "回答",
    "side_a": "模型 A",
    "side_b": "模型 B",
    "empty": "### 把图片拖到这里、粘贴或选择图片\n然后提问。也可以从示例开始:",
    "empty_side": "两个模型收到同样的问题;投票之后才显示它们的名称。",
    "example_1": "What shapes are there?",
    "example_2": "Describe this image in detail.",
    "example_3": "What colour is the largest shape?",
    "working": "正在回答……",
    "answered": "{model} 的回答:{tokens} 个词元,用时 {seconds} 秒",
    "stopped": "已停止,已有的内容会保留。",
    "ready": "就绪:{models}",
    "gone": "模型服务器没有响应,每隔几秒会重试。内容不会丢失。",
    "back": "模型服务器已恢复。",
    "vote_a": "A 更好",
    "vote_b": "B 更好",
    "vote_both": "都好",
    "vote_neither": "都不好",
    "vote_ask": "哪个回答更好?投票后显示名称。",
    "revealed": "谢谢。模型 A 是 **{a}**,模型 B 是 **{b}**。",
    "vote_first": "请先提问,再投票。",
    "two_needed": "比较需要服务器提供两个模型;它现在提供 {models}。",
    "said_good": "已标记为好。愿意说说原因吗?",
    "said_bad": "已标记为不好。哪里不对,正确的回答应该是什么?",
    "reasons": "原因",
    "reason_wrong": "与图片不符",
    "reason_made_up": "凭空捏造",
    "reason_incomplete": "不完整",
    "reason_unclear": "难以理解",
    "reason_harmful": "有害或无礼",
    "reason_else": "用您自己的话说",
    "correction": "正确的回答应该是什么?",
    "correction_info": "如果回答无需修改,请保持原样",
    "send": "发送反馈",
    "close": "关闭",
    "thanks": "谢谢,您的反馈已保存。",
    "taken_back": "您对这个回答的反馈已撤回。",
    "consent": "模型可以从我的反馈中学习,包括这次对话的图片和文字",
    "consent_info": "关闭时只用于质量改进。任何模型学习之前都会有人审核。",
    "you": "您在这里的名字是 **{user}**。要删除您的反馈,请提供它。",
    "privacy": "隐私",
    "not_an_image": "{name} 不是可以读取的图片。支持 JPEG、PNG、WebP、BMP 和 GIF。",
    "too_many_pixels": "{name} 有 {pixels} 百万像素,最多 {limit}。请缩小后再试。",
    "too_large": "{name} 有 {size} MB,最多 {limit} MB。请缩小后再试。",
    "too_many_images": "一次对话中 {number} 张图片太多,最多 {limit} 张。",
    "kept": "您输入的内容保留在输入框中。",
    "error_gone": "模型服务器没有响应。您的问题已保留:恢复后请按重试(↻)。",
    "error_cut": "服务器在回答中途断开。已有的内容会保留;按重试(↻)可重新回答。",
    "error_busy": "服务器繁忙。您的问题已保留:请稍后按重试(↻)。",
    "error_slow": "服务器用时过长。您的问题已保留:请按重试(↻)。",
    "error_refused": "服务器拒绝了这个问题:{detail}",
    "error_model": "服务器没有这个模型:{detail}",
    "error_key": "服务器需要另一个 API 密钥:{detail}",
    "error_failed": "服务器出错:{detail}。您的问题已保留:请按重试(↻)。",
    "empty_answer": "模型给出了空的回答。请按重试(↻),或换个说法。",
}
LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": ENGLISH, "zh": CHINESE}
REASONS = ("reason_wrong", "reason_made_up", "reason_incomplete", "reason_unclear", "reason_harmful")


@dataclass(frozen=True)
class Words:
    """The words of one language."""

    language: str

    def __call__(self, key: str, **values: object) -> str:
        """A text with its places filled."""
        return LANGUAGES[self.language][key].format(**values)

    @property
    def other(self) -> str:
        """The language that the page offers instead."""
        return next(language for language in LANGUAGES if language != self.language)


def preferred(accepted: str) -> str:
    """The language for an Accept-Language header (RFC 9110, 12.5.4); English where none of ours is asked for."""
    asked: list[tuple[float, str]] = []
    for part in accepted.split(","):
        tag, _, weight = part.partition(";q=")
        try:
            asked.append((float(weight or 1), tag.strip().partition("-")[0].lower()))
        except ValueError:
            continue
    known = [(weight, tag) for weight, tag in asked if tag in LANGUAGES and weight > 0]
    return max(known, key=lambda one: one[0])[1] if known else "en"
