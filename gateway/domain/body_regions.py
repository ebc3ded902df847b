"""Which part of the body a text speaks of, as far as the usual words tell: for comparing what was done and ordered.

Promises: a text that names no part gives the empty set, which agrees with everything; so do regions that one
examination often covers together (`may_be`). The words are those of Body Part Examined (PS3.16 annex L) and of
orders and protocols in English, German, French, Spanish and Italian, in lower case and without accents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from gateway.domain.keys import fold

_WORDS: Final = {
    "head": "head skull brain cerebral cranial neuro schadel kopf hirn tete crane cerveau cabeza craneo cerebro testa"
    " cranio encefalo sinus orbit face jaw pituitary petrous",
    "neck": "neck cervical carotid thyroid hals schilddruse cou cervico cuello tiroides collo tiroide larynx",
    "chest": "chest thorax lung pulmonary rib sternum heart cardiac coronary brust lunge herz poumon coeur torax pulmon"
    " corazon torace polmone cuore thoracic hrct ctpa mediastinum",
    "breast": "breast mamma mammo mammography mammographie sein seno",
    "abdomen": "abdomen abdominal liver kidney renal pancreas spleen bowel urinary gallbladder bauch leber niere ventre"
    " foie rein higado rinon addome fegato rene kub",
    "pelvis": "pelvis pelvic prostate uterus bladder becken bassin pelvien prostata vejiga bacino",
    "spine": "spine lumbar lspine cspine tspine sacrum wirbelsaule lws hws bws rachis lombaire columna colonna",
    "shoulder": "shoulder clavicle scapula schulter epaule hombro spalla",
    "arm": "arm elbow humerus forearm ellenbogen unterarm coude bras codo brazo gomito braccio upperextremity",
    "hand": "hand wrist finger thumb scaphoid handgelenk main poignet doigt mano muneca dedo polso dito",
    "hip": "hip hufte hanche cadera anca",
    "leg": "leg femur tibia fibula thigh calf oberschenkel unterschenkel jambe cuisse pierna muslo gamba coscia"
    " lowerextremity",
    "knee": "knee patella knie genou rodilla ginocchio",
    "foot": "foot ankle toe heel calcaneus fuss sprunggelenk zehe pied cheville orteil pie tobillo piede caviglia",
}
_REGION: Final = {word: region for region, words in _WORDS.items() for word in words.split()}
_TOGETHER: Final = (
    {"head", "neck"},
    {"neck", "chest", "spine"},
    {"chest", "abdomen", "pelvis", "spine"},
    {"chest", "breast", "shoulder"},
    {"pelvis", "hip", "spine", "leg"},
    {"shoulder", "arm"},
    {"arm", "hand"},
    {"hip", "leg"},
    {"leg", "knee", "foot"},
    {"head", "spine"},
)
_LETTERS: Final = re.compile(r"[a-z]+")


def regions(texts: Iterable[str]) -> frozenset[str]:
    """The parts of the body that the texts name."""
    return frozenset[str]().union(*map(_regions, texts))


@lru_cache(maxsize=4096)
def _regions(text: str) -> frozenset[str]:
    return frozenset(_REGION[word] for word in _LETTERS.findall(fold(text)) if word in _REGION)


def may_be(done: frozenset[str], asked: frozenset[str]) -> bool:
    """Whether what was done can be what was asked for: one names nothing, or they share or adjoin a part."""
    if not done or not asked or done & asked:
        return True
    return any(done & together and asked & together for together in _TOGETHER)
