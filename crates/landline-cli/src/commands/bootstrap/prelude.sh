# The beginning of every script on the remote machine.
# A login may print other text, so each answer is a line of its own with a mark.
# Commands must not read standard input, unless the script says so.
set -u
# After su the user may have no access to the current folder.
cd /

tell() {
    printf 'landline:%s %s\n' "$1" "$2"
}

# problem KIND TEXT: reports what failed, and ends the script.
problem() {
    tell problem "$1 $(printf '%s' "${2-}" | tr '\n' ' ')"
    exit 1
}

# The SHA-256 of a file. Prints nothing if there is no program for it.
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
# Other users cannot enter root's home, and the server runs as another user.
if [ "$(id -u)" = 0 ]; then
    folder=/usr/local/bin
else
    folder=$HOME/.local/bin
fi
program=$folder/landline
# A non-interactive login may not set the variable that leads to the user's systemd.
: "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"
export XDG_RUNTIME_DIR
