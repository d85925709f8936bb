"""Whose CT it is: what an export states about patient and study, valid whatever the CT's headers say.

An archive files an object by these values, so they are the CT's own wherever DICOM lets them be; what DICOM does not
let be is corrected where its meaning is plain and else left empty, and a finding names the attribute (never its
value). Texts are decoded here once, and both writers encode them as UTF-8.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from pydicom import charset
from pydicom.datadict import dictionary_description, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.valuerep import TEXT_VR_DELIMS

from pancreasseg.core.finding import Finding, Severity
from pancreasseg.io.dicom_file import is_charset

CHARACTER_SET = "ISO_IR 192"  # UTF-8
#: Attributes that every DICOM object must have and that may be empty (type 2).
MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
# Attributes of the same modules that are left out where the CT has nothing valid to say.
_MAY_BE_ABSENT = (
    "StudyDescription", "IssuerOfPatientID", "TypeOfPatientID", "PatientAge", "PatientSize", "PatientWeight",
    "PatientIdentityRemoved", "DeidentificationMethod", "LongitudinalTemporalInformationModified",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)  # fmt: skip
_LONGEST = {"SH": 16, "LO": 64, "PN": 5 * 64}
_SEX = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}
_TERM = re.compile(r"ISO[ _-]*(?P<extended>2022[ _-]*)?IR[ _-]*(?P<number>\d+)", re.IGNORECASE)


def read_identity(headers: Sequence[Dataset]) -> tuple[Dataset, list[Finding]]:
    """The attributes of patient and study, decoded and valid, and what had to be done to them.

    Args:
        headers: of the slices of one patient, as pydicom read them; attributes that were never asked for are best, as
            they are still the bytes of the file.
    """
    header = _most_telling(headers)
    terms = _values(stated(header, "SpecificCharacterSet"))
    encodings, known = _encodings(terms)
    identity, repaired, kept, guessed = Dataset(), [], [], False
    identity.SpecificCharacterSet = CHARACTER_SET
    for keyword in (*MAY_BE_EMPTY, *_MAY_BE_ABSENT):
        text, guess = _decoded(_bytes(header, keyword), encodings)
        said = _values(text)
        valid = [_repair_of(keyword)(value) for value in said]
        guessed |= guess
        if valid != said:
            repaired.append(keyword)
        elif len(valid) > 1 or len(valid[0]) > _LONGEST.get(dictionary_VR(keyword), len(valid[0])):
            kept.append(keyword)
        if any(valid) or keyword in MAY_BE_EMPTY:
            setattr(identity, keyword, valid if len(valid) > 1 else valid[0])
    findings = [*_about_texts(terms, known=known, guessed=guessed), *_about_values(repaired, kept)]
    return identity, [*findings, *_about_patient(identity)]


def stated(header: Dataset, keyword: str) -> str:
    """What an attribute that is no text (a number, an identifier, a term) says in the file; empty when missing."""
    return _bytes(header, keyword).decode("latin-1").strip(" \0")


def _most_telling(headers: Sequence[Dataset]) -> Dataset:
    """The header that identity is read from: one with a patient ID where some have lost it."""
    return next((header for header in headers if stated(header, "PatientID")), headers[0])


def is_decimal(text: str) -> bool:
    """True for what DICOM takes as a decimal string, within floating point."""
    return bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text.strip())) and math.isfinite(float(text))


def _bytes(header: Dataset, keyword: str) -> bytes:
    """An attribute as the file has it; empty when it is not there or holds no text."""
    element = header.get_item(keyword) if keyword in header else None
    if element is None or element.value is None or element.VR == "SQ":
        return b""
    if isinstance(element.value, bytes):
        return element.value
    several = isinstance(element.value, Sequence) and not isinstance(element.value, str)
    return "\\".join(str(item) for item in (element.value if several else [element.value])).encode("utf-8")


def _values(text: str) -> list[str]:
    return [value.rstrip("\0 ") for value in text.rstrip("\0 ").split("\\")]


def _encodings(terms: Sequence[str]) -> tuple[list[str], bool]:
    """Python's encodings for the terms of Specific Character Set, and whether DICOM knows the terms."""
    names = [_encoding(term) for term in terms]
    if all(name for name in names):
        return [name for name in names if name], all(term in charset.python_encoding for term in terms)
    return [charset.default_encoding], False


def _encoding(term: str) -> str | None:
    """Python's encoding for a term as DICOM, or somebody who nearly knew it, writes it; None for anything else."""
    form = _TERM.fullmatch(term)
    names = [term] if form is None else [f"ISO_IR {form['number']}", f"ISO 2022 IR {form['number']}"]
    for name in reversed(names) if form is not None and form["extended"] else names:
        if name in charset.python_encoding:
            return str(charset.python_encoding[name])
    try:
        codecs.lookup(term)
    except (LookupError, ValueError):
        return None
    return term if is_charset(term) else None


def _decoded(content: bytes, encodings: list[str]) -> tuple[str, bool]:
    """The text of an attribute, and whether its encoding had to be guessed."""
    if b"\x1b" in content:
        declared = charset.decode_bytes(content, encodings, TEXT_VR_DELIMS)
        text = charset.decode_bytes(content, [*encodings, *charset.CODES_TO_ENCODINGS.values()], TEXT_VR_DELIMS)
        return text, text != declared
    if content.isascii():
        return content.decode("ascii"), False
    if encodings[0] != charset.default_encoding:
        text = charset.decode_bytes(content, encodings, TEXT_VR_DELIMS)
        if "\ufffd" not in text:
            return text, False
    try:
        return content.decode("utf-8"), True
    except UnicodeDecodeError:
        return content.decode("latin-1"), True


def _printable(value: str) -> str:
    return "".join(letter for letter in value if letter.isprintable() or letter == "\u3000")


def _date(value: str) -> str:
    found = re.fullmatch(r"(\d{4})([-./]?)(\d{2})\2(\d{2})", value.strip())
    try:
        return (
            datetime(int(found[1]), int(found[3]), int(found[4])).date().isoformat().replace("-", "") if found else ""
        )
    except ValueError:
        return ""


def _time(value: str) -> str:
    found = re.fullmatch(r"([01]\d|2[0-3])(?:(:?)([0-5]\d)(?:\2([0-5]\d|60)(?:\.(\d+))?)?)?", value.strip())
    if found is None:
        return ""
    hours, _, minutes, seconds, fraction = found.groups(default="")
    return hours + minutes + seconds + (f".{fraction[:6]}" if fraction else "")


def _age(value: str) -> str:
    found = re.fullmatch(r"(\d{1,3})([DWMY])", value.strip().upper())
    return f"{int(found[1]):03d}{found[2]}" if found else ""


def _number(value: str) -> str:
    return value if is_decimal(value) and len(value) <= 16 else ""


def _yes_or_no(value: str) -> str:
    return value.strip().upper() if value.strip().upper() in ("YES", "NO") else ""


# By attribute or, failing that, by value representation: what makes a value valid, or nothing of it.
_REPAIRS: dict[str, Callable[[str], str]] = {
    "PatientSex": lambda value: _SEX.get(value.strip().upper(), ""),
    "PatientIdentityRemoved": _yes_or_no,
    "LongitudinalTemporalInformationModified": lambda value: value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else "",
    "DA": _date,
    "TM": _time,
    "AS": _age,
    "DS": _number,
}


def _repair_of(keyword: str) -> Callable[[str], str]:
    return _REPAIRS.get(keyword) or _REPAIRS.get(dictionary_VR(keyword), _printable)


def _about_texts(terms: Sequence[str], *, known: bool, guessed: bool) -> list[Finding]:
    if guessed:
        sentence = (
            "The CT does not say rightly how its texts are encoded (Specific Character Set), so letters that are not "
            "ASCII were read by a guess; check the patient's name in the exported file."
        )
        return [Finding("dicom-charset-guessed", Severity.WARNING, sentence)]
    if known or terms == [""]:
        return []
    sentence = "The CT's Specific Character Set is no term of DICOM's; the export states its own (UTF-8)."
    return [Finding("dicom-charset-odd", Severity.INFO, sentence)]


def _about_values(repaired: Sequence[str], kept: Sequence[str]) -> list[Finding]:
    findings = []
    if repaired:
        sentence = (
            f"What the CT states is not valid DICOM in: {_named(repaired)}. The export has it corrected or empty; "
            "complete it in the archive where it is needed."
        )
        findings.append(Finding("dicom-values-repaired", Severity.WARNING, sentence, float(len(repaired))))
    if kept:
        sentence = (
            f"The CT has several values, or one too long, where DICOM has one: {_named(kept)}. The export states the "
            "same, so that it is filed with the CT."
        )
        findings.append(Finding("dicom-values-odd", Severity.INFO, sentence, float(len(kept))))
    return findings


def _about_patient(identity: Dataset) -> list[Finding]:
    if any(identity["PatientID"].value):
        return []
    sentence = "The CT carries no patient ID, so neither will the export; an archive may ask for one when you send it."
    return [Finding("dicom-no-patient-id", Severity.INFO, sentence)]


def _named(keywords: Sequence[str]) -> str:
    return ", ".join(dictionary_description(keyword) for keyword in keywords)
