# What every step at the other end begins with. A login may say other things, so each answer stands on a marked line of its own.
# Nothing in here may read standard input that is not said to.
set -u
# Whoever has become another user may stand where that one may not be.
cd /

tell() {
    printf 'landline:%s %s\n' "$1" "$2"
}

# What is in the way: which kind, and what was said. Ends the step.
problem() {
    tell problem "$1 $(printf '%s' "${2-}" | tr '\n' ' ')"
    exit 1
}

# The SHA-256 of a file; nothing where there is no program for it.
digest() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum <"$1" | cut -d ' ' -f 1
    elif command -v shasum >/dev/null 2>&1; then
        shasum -a 256 <"$1" | cut -d ' ' -f 1
    fi
}

if ! [ -d "${HOME-}" ]; then
    problem home "the home of this user, ${HOME-}, is not there"
fi
# Root's own home is open to nobody, and root's server runs as somebody else.
if [ "$(id -u)" = 0 ]; then
    folder=/usr/local/bin
else
    folder=$HOME/.local/bin
fi
program=$folder/landline
# A login that is no real one does not say where systemd's manager of this user is.
: "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"
export XDG_RUNTIME_DIR
