# What the scripts in the sandbox can use: the command under test, three users, and these functions.
grep -q '^sandbox / overlay ' /proc/mounts || exit 125
rm -rf /etc/landline
cat > /usr/local/bin/landline && chmod 755 /usr/local/bin/landline
for name in test-server test-other test-client; do useradd --create-home $name; done
set -o pipefail
STATE=.local/state/landline
set -x # The trace shows what failed.

# as NAME COMMAND...: runs a command as a user who has logged in.
as() {
    local name=$1; shift
    runuser -u "$name" -- env HOME="/home/$name" XDG_RUNTIME_DIR="/run/user/$(id -u "$name")" "$@"
}
# wait_for COMMAND...: waits until the command succeeds.
wait_for() {
    { local - turn; set +x; } 2> /dev/null
    for turn in {1..1200}; do
        if "$@" > /dev/null; then return; fi
        sleep 0.1
    done 2> /dev/null
    wrong "never came: $*"
}
# ends STATUS WORDS COMMAND...: the command exits with this status and prints these words.
ends() {
    { local -; set +x; } 2> /dev/null
    local status=$1 words=$2 said ended=0; shift 2
    said=$("$@" 2>&1) || ended=$?
    [ "$ended" = "$status" ] && [[ $said == *"$words"* ]] || wrong "$* ended with $ended: $said"
}
# says WORDS COMMAND...: the command succeeds and prints these words.
says() { ends 0 "$@"; }
# fails STATUS CODE COMMAND...: landline --json fails with this status and code.
fails() { ends "$1" "{\"code\":\"$2\"," "${@:3}"; }
wrong() { echo "WRONG: $*" >&2; exit 1; }
# serve_beside, end_beside: start and end a server outside of systemd.
serve_beside() {
    setpriv --reuid test-server --regid test-server --clear-groups env HOME=/home/test-server landline serve & beside=$!
    wait_for as test-other bash -c '< /dev/tcp/127.0.0.1/5263'
}
end_beside() { kill $beside; wait $beside; }
# nothing_is_left SYSTEMCTL...: neither unit files nor loaded units are left.
nothing_is_left() {
    [ -z "$(find /etc/systemd /home/*/.config/systemd -name 'landline*' 2> /dev/null)" ] || wrong "units are left"
    [ -z "$("${@:-systemctl}" list-units --all --plain --no-legend 'landline*')" ] || wrong "systemd remembers a unit"
}
# listens ADDRESS PORT: systemd listens only there. The address * means all.
listens() {
    { local - a b c d wanted port; set +x; } 2> /dev/null
    IFS=. read -r a b c d <<< "$1"
    if [ "$1" = '*' ]; then wanted='0+'; else wanted=$(printf '%02X' "$d" "$c" "$b" "$a"); fi
    port=$(printf '%04X' "$2")
    [[ $(awk '$4 == "0A" { print $2 }' /proc/net/tcp /proc/net/tcp6) =~ ^$wanted:$port$ ]] || wrong "not at $1 port $2 alone"
}
# is PROPERTY VALUE [SYSTEMCTL...]: the service has this property.
is() { [ "$("${@:3}" show --value --property="$1" landline.service)" = "$2" ]; }
# begin_copy NAME, end_copy: a copy of two lines to this name, which waits for the second line.
begin_copy() {
    mkfifo /tmp/lines && exec 7<> /tmp/lines
    as test-client sh -c "head -n 2 | landline cp -q - 127.0.0.1:$1" < /tmp/lines & copy=$!
    echo first >&7
    wait_for compgen -G '/home/*/.landline-*.part'
}
end_copy() { echo second >&7; exec 7>&-; rm /tmp/lines; wait $copy; }
