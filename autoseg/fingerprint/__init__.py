from autoseg.fingerprint.run import examine, verify_unchanged
from autoseg.fingerprint.fingerprint import CaseFingerprint, Fingerprint

__all__ = ["CaseFingerprint", "Fingerprint", "examine", "verify_unchanged"]
