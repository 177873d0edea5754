from autoseg.fingerprint.fingerprint import CaseFingerprint, Fingerprint
from autoseg.fingerprint.run import examine, verify_unchanged

__all__ = ["CaseFingerprint", "Fingerprint", "examine", "verify_unchanged"]
