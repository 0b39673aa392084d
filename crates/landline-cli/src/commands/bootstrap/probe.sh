# Reports the platform, the user, and what is installed.
run_as=$1
if [ -n "$run_as" ] && ! id -u -- "$run_as" >/dev/null 2>&1; then
    problem user "$run_as"
fi
tell system "$(uname -s)"
tell machine "$(uname -m)"
tell user "$(id -u)"
tell place "$program"
if [ -f "$program" ]; then
    tell digest "$(digest "$program")"
    tell version "$("$program" --version 2>&1 </dev/null | head -n 1)"
fi
if systemctl --user show-environment </dev/null >/dev/null 2>&1; then
    tell manager user
fi
if systemctl show-environment </dev/null >/dev/null 2>&1; then
    tell manager system
fi
tell end probe
