"""Presidio's analyzer from PyPI behind its REST shape, with a blank language model: its pattern recognizers alone.

    analyzer.py PORT
"""
import json
import logging
import sys

logging.disable(logging.WARNING)

import spacy  # noqa: E402
from flask import Flask, request  # noqa: E402
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # noqa: E402
from presidio_analyzer.nlp_engine import SpacyNlpEngine  # noqa: E402


class Blank(SpacyNlpEngine):
    """Does not download a model."""

    def __init__(self):
        super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])
        self.nlp = {"en": spacy.blank("en")}

    def load(self):
        self.nlp = {"en": spacy.blank("en")}


registry = RecognizerRegistry()
registry.load_predefined_recognizers(languages=["en"])
registry.remove_recognizer("SpacyRecognizer")
engine = AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])
app = Flask("analyzer")


@app.get("/health")
def health():
    return "ok"


@app.post("/analyze")
def analyze():
    asked = request.get_json(force=True)

    def one(text):
        found = engine.analyze(
            text=text,
            language=asked.get("language", "en"),
            entities=asked.get("entities"),
            score_threshold=asked.get("score_threshold"),
        )
        return [result.to_dict() for result in found]

    text = asked["text"]
    answer = [one(each) for each in text] if isinstance(text, list) else one(text)
    return app.response_class(json.dumps(answer, default=str), mimetype="application/json")


app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
