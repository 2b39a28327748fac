"""The tables of who you are, one subject a module."""

from accounts.models.approvals import ApprovalDecision, ApprovalRequest, Enrolment
from accounts.models.gates import KnownPair, LoginGate, RequestRate
from accounts.models.keys import ApiKey
from accounts.models.notices import Notice
from accounts.models.searches import SavedSearch
from accounts.models.second_factor import RecoveryCode, TotpDevice
from accounts.models.users import (
    EMAIL_LENGTH_MAX,
    RevokedToken,
    TokenFamily,
    TokenFamilyQuerySet,
    User,
    UserManager,
    UserQuerySet,
    normalized_email,
)

__all__ = [
    "EMAIL_LENGTH_MAX",
    "ApiKey",
    "ApprovalDecision",
    "ApprovalRequest",
    "Enrolment",
    "KnownPair",
    "LoginGate",
    "Notice",
    "RecoveryCode",
    "RequestRate",
    "RevokedToken",
    "SavedSearch",
    "TokenFamily",
    "TokenFamilyQuerySet",
    "TotpDevice",
    "User",
    "UserManager",
    "UserQuerySet",
    "normalized_email",
]
