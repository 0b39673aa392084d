# Starts the server if it does not run, restarts it for a new program, and prints an invite.
manager=$1 is_new=$2 port=$3 name=$4 run_as=$5
exec </dev/null

# Runs a command as the user of the server.
as() {
    if [ -n "$run_as" ]; then
        su -s /bin/sh -c '"$@"' -- "$run_as" sh "$@"
    else
        "$@"
    fi
}

# The last line of a text. With --json, that is landline's result or failure.
last_line() {
    tail -n 1 <<END
$1
END
}

settings=$(as "$program" config --json 2>&1) || problem settings "$(last_line "$settings")"
state=$(printf '%s\n' "$settings" | sed -n 's/.*"state":{[^}]*"value":"\([^"\\]*\)"}.*/\1/p')
if [ -z "$state" ]; then
    problem settings "it is not clear where the state folder is: $settings"
fi
invite=$state/server/invite
# The owner's invite is valid for a day. A server that starts makes another one.
if as test -f "$invite" && [ -n "$(as find "$invite" -mtime +0)" ]; then
    is_new=yes
fi
pid_file=$state/serve.pid
log=$state/serve.log
# What a server says, with --json, until it listens.
start=$state/serve.start

# Whether the server runs that an earlier bootstrap started in the background.
# The user of the server can write anything to serve.pid. So the file is read, and the process is
# checked and ended, with the rights of that user only.
runs() {
    pid=$(as test -f "$pid_file" && as head -n 1 "$pid_file" 2>/dev/null) || return 1
    # Other values could mean a group of processes, or all processes.
    case $pid in
        "" | 0* | *[!0-9]*) return 1 ;;
    esac
    as kill -0 "$pid" 2>/dev/null || return 1
    # Some systems have no /proc. With /proc, a process that cannot be read has ended or belongs to
    # another user.
    if [ -r /proc/self/cmdline ]; then
        case $(as cat "/proc/$pid/cmdline" 2>/dev/null | tr '\0' ' ') in
            *landline*serve*) ;;
            *) return 1 ;;
        esac
    fi
}

# Whether the program is newer than the running server: an earlier bootstrap may have been interrupted
# before it restarted the server. The arguments are the test of find, and the start of the server.
# /proc does not show which program runs, because the server closes its memory to others.
is_outdated() {
    [ -n "$2" ] && [ -n "$(find "$program" "$1" "$2" 2>/dev/null)" ]
}

pause() {
    sleep 0.1 2>/dev/null || sleep 1
}

# Ends the server and waits until it has ended. Its transfers may complete first.
stop() {
    as kill "$pid"
    attempts=0
    while runs; do
        attempts=$((attempts + 1))
        if [ "$attempts" -gt 900 ]; then
            problem start "the server with the process id $pid does not stop"
        fi
        pause
    done
}

detach() {
    # Only mkdir gets this umask. The server keeps the umask of the user.
    (umask 077 && mkdir -p "$state") || problem start "$state cannot be made"
    set -- "$program" serve --json --log "$log"
    if [ -n "$port" ] && [ -e /proc/net/if_inet6 ]; then
        set -- "$@" --listen "[::]:$port"
    elif [ -n "$port" ]; then
        set -- "$@" --listen "0.0.0.0:$port"
    fi
    if [ -f "$log" ]; then
        mv -f "$log" "$log.old"
    fi
    detached=nohup
    if command -v setsid >/dev/null 2>&1; then
        detached=setsid
    fi
    # Another bootstrap may start a server at the same time. The one that listens gets the final name.
    own_pid_file=$pid_file.$$
    start=$start.$$
    trap keep_pid_file HUP INT TERM PIPE
    "$detached" sh -c 'echo $$ >"$0" && exec "$@"' "$own_pid_file" "$@" >"$start" 2>&1 &
    child=$!
    attempts=0
    until grep -q '^{.*"listening":' "$start"; do
        if ! kill -0 "$child" 2>/dev/null; then
            said=$(grep '^{"code":"in-use",' "$start" || tail -n 1 "$start")
            rm -f "$own_pid_file" "$start"
            case $said in
                '{"code":"in-use",'*)
                    tell server other
                    return
                    ;;
            esac
            problem start "$said"
        fi
        attempts=$((attempts + 1))
        if [ "$attempts" -gt 300 ]; then
            kill "$child"
            said=$(tail -n 1 "$start")
            rm -f "$own_pid_file" "$start"
            problem start "the server does not listen: $said"
        fi
        pause
    done
    mv -f "$own_pid_file" "$pid_file"
    rm -f "$start"
    tell server detached
    tell log "$log"
}

# An interrupted bootstrap leaves a server that the next one can find.
keep_pid_file() {
    mv -f "$own_pid_file" "$pid_file" 2>/dev/null
    rm -f "$start"
    exit 1
}

# service user|"": runs the server under the user's or the system's systemd.
service() {
    scope=${1:+--user}
    units=/etc/systemd/system
    if [ -n "$scope" ]; then
        units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
    fi
    # An installed service keeps its address, port and user, unless the options name others.
    if [ -f "$units/landline.socket" ]; then
        has_port=$(sed -n 's/^ListenStream=\([0-9]*\)$/\1/p' "$units/landline.socket")
        if [ -n "$port" ] && [ "$port" != "$has_port" ]; then
            is_new=yes
        fi
        : "${port:=$has_port}"
    fi
    if [ -n "$run_as" ] && ! grep -qx "User=$run_as" "$units/landline.service" 2>/dev/null; then
        is_new=yes
    fi
    if runs; then
        stop
        as rm -f "$pid_file"
    fi
    # A systemd before 247 tells only the second, and then a program of the same second counts as newer.
    set -- --property ExecMainStartTimestamp --value landline.service
    started=$(systemctl $scope show --timestamp=us+utc "$@" 2>/dev/null) ||
        started=$(systemctl $scope show "$@" 2>/dev/null)
    if ! systemctl $scope is-active --quiet landline.service >/dev/null 2>&1 ||
        is_outdated -newermt "$started"; then
        is_new=yes
    fi
    # Installing restarts the service, so this is skipped if nothing has changed.
    if [ "$is_new" = yes ]; then
        set -- "$program" service install --json
        if [ -n "$scope" ]; then
            set -- "$@" --user
        else
            set -- "$@" --run-as "$run_as"
        fi
        said=$("$@" ${port:+--port "$port"} 2>&1) || problem start "$(last_line "$said")"
    fi
    if [ -n "$scope" ] && ! loginctl enable-linger >/dev/null 2>&1; then
        tell linger no
    fi
    tell server service
}

case $manager in
    user) service user ;;
    system) service "" ;;
    *)
        if runs && { [ "$is_new" = yes ] || is_outdated -newer "$pid_file"; }; then
            stop
        fi
        if runs; then
            tell server running
            tell log "$log"
        else
            detach
        fi
        ;;
esac

# The invite is a secret, so it is never on a command line.
if as test -f "$invite"; then
    printf 'landline:invite '
    as cat "$invite" || problem invite "$invite cannot be read"
else
    made=$(as "$program" user invite "$name" --json 2>&1) || problem invite "$(last_line "$made")"
    printf 'landline:made '
    last_line "$made"
fi
tell end start
