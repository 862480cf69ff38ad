"""Signing in with an API key, signing out, and choosing a theme: the forms that set cookies."""

from fastapi import APIRouter, Request, Response

from api.http.auth import OPEN, CallersDep, authenticate
from api.http.callers import KEY_COOKIE, as_cookie, cookie_key
from api.web.forms import FormDep, own_path, see_other
from api.web.pages import THEME_COOKIE, THEMES, render

router = APIRouter(include_in_schema=False, dependencies=[OPEN])

_MONTH_S = 30 * 86_400
_YEAR_S = 365 * 86_400


@router.get("/sign-in")
async def show_sign_in(request: Request, callers: CallersDep, next: str = "/") -> Response:
    """Show the form to sign in, or the signed-in user."""
    caller = request.state.caller = await callers.identify(request.scope)
    has_expired = caller is None and bool(cookie_key(request.scope))
    error = "Your key was revoked or has expired: sign in with another one." if has_expired else ""
    return _form(request, own_path(next), error=error)


@router.post("/sign-in")
async def sign_in(request: Request, form: FormDep) -> Response:
    """Store a key in a cookie, if the key is valid."""
    key, target = form.get("key", "").strip().encode(), own_path(form.get("next", "/"))
    if not key:
        return _form(request, target, status=422, error="Enter an API key.")
    if await authenticate(key, request) is None:
        error = "This key is unknown, revoked or expired. Check that you copied all of it."
        return _form(request, target, status=401, error=error)
    response = see_other(target)
    response.set_cookie(
        KEY_COOKIE.decode(),
        as_cookie(key),
        max_age=_MONTH_S,
        secure=_came_by_https(request),
        httponly=True,
        samesite="strict",
    )
    return response


@router.post("/sign-out")
async def sign_out() -> Response:
    """Delete the cookie with the key."""
    response = see_other("/sign-in")
    response.delete_cookie(KEY_COOKIE.decode())
    return response


@router.post("/theme")
async def choose_theme(form: FormDep) -> Response:
    """Store a theme in a cookie, so that each page has it before its first paint; so does `theme.js`."""
    response = see_other(own_path(form.get("next", "/")))
    chosen = form.get("theme", "")
    if chosen in THEMES:
        response.set_cookie(THEME_COOKIE, chosen, max_age=_YEAR_S, samesite="lax")
    return response


def _form(request: Request, target: str, *, error: str = "", status: int = 200) -> Response:
    return render(request, "sign_in.html", status=status, target=target, error=error)


def _came_by_https(request: Request) -> bool:
    """Return whether the browser uses HTTPS, directly or to a proxy: it then sends the key by HTTPS only."""
    origin, forwarded = request.headers.get("origin", ""), request.headers.get("x-forwarded-proto", "")
    return request.url.scheme == "https" or origin.startswith("https://") or forwarded == "https"
