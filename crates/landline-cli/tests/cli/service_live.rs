//! `landline service install` under a real systemd, in a sandbox of its own.
//! The functions of the scripts are in testkit/systemd/words.sh.

use std::path::Path;

/// Runs a script in a sandbox. Skips the test if there is none.
#[track_caller]
fn run_in_sandbox(script: &str) {
    let Some(outcome) = testkit::under_systemd(Path::new(env!("CARGO_BIN_EXE_landline")), script)
    else {
        return;
    };
    let last: Vec<_> = outcome.stderr.lines().rev().take(80).collect();
    let last: Vec<_> = last.into_iter().rev().collect();
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert_eq!(outcome.status, Some(0), "{}\n{said}", last.join("\n"));
}

/// `$flag` is `--user` for a service of a user. `${by[@]}` runs a command as the user who installs
/// it.
const WORDS: &str = r#"
control() { "${by[@]}" systemctl $flag "$@"; }
service() { "${by[@]}" landline --json service "$@" $flag; }
"#;

/// A service from its first client to its removal.
const LIFE: &str = r#"
as test-client landline join - --as me < /home/test-server/$STATE/server/invite
as test-client sh -c 'cd; head -c 3000000 /dev/urandom > f; landline cp -q f 127.0.0.1:f; landline cp -q 127.0.0.1:f g; cmp f g'
: The socket still listens, so the next client starts the server.
control stop landline.service
as test-client landline ping 127.0.0.1
: A killed server is restarted, and the client waits for it.
control kill --kill-who=main --signal=KILL landline.service
as test-client landline ping 127.0.0.1
wait_for is NRestarts 1 control
: A running copy may complete.
begin_copy slow
control restart --no-block landline.service
wait_for is ActiveState deactivating control
end_copy
wait_for is ActiveState active control
[ "$(cat /home/test-server/slow)" = $'first\nsecond' ]
control reload landline.service
as test-server landline audit verify
service status
service remove
fails 1 not-running service status
fails 10 connect as test-client landline --json ping 127.0.0.1
fails 1 not-installed service remove
nothing_is_left control
"#;

#[test]
fn system_service_runs_restarts_and_is_removed() {
    run_in_sandbox(&format!(
        "{WORDS}
        by=(env) flag=
        says 'the service starts with this machine' landline service install --run-as test-server
        listens '*' 5263
        as test-other landline service status
        fails 2 usage as test-other landline --json service remove
        {LIFE}"
    ));
}

#[test]
fn user_service_runs_restarts_and_is_removed() {
    run_in_sandbox(&format!(
        "{WORDS}
        by=(as test-server) flag=--user
        loginctl enable-linger test-server
        wait_for as test-server systemctl --user show-environment
        : A user who may not read the journal also sees the reason.
        serve_beside
        fails 1 service-failed as test-server landline --json service install --user --port 6000
        nothing_is_left control
        end_beside
        : The state folder of a shell may differ from that of the service.
        says '--state /home/test-server/.local/state/landline user list' \
            as test-server env XDG_STATE_HOME=/home/test-server landline service install --user
        : After su or sudo no variable leads to systemd.
        bare() {{ runuser -u $1 -- env -u XDG_RUNTIME_DIR HOME=/home/$1 landline --json service install --user; }}
        says 'the service starts with this machine' bare test-server
        fails 1 no-systemd bare test-other
        {LIFE}"
    ));
}

#[test]
fn reinstall_changes_running_service() {
    run_in_sandbox(
        r#"
        landline service install --run-as test-server
        says 'port 6000' landline service install --run-as test-other --port 6000
        listens '*' 6000
        [ "$(stat -c %U "/proc/$(systemctl show --value --property=MainPID landline.service)")" = test-other ]
        : A running copy may complete.
        landline service install --run-as test-server
        as test-client landline join - --as me < /home/test-server/$STATE/server/invite
        begin_copy slow
        landline service install --run-as test-server & install=$!
        wait_for is ActiveState deactivating systemctl
        end_copy
        wait $install
        [ "$(cat /home/test-server/slow)" = $'first\nsecond' ]
        as test-client landline ping 127.0.0.1
        "#,
    );
}

#[test]
fn service_listens_only_where_configured() {
    run_in_sandbox(
        r#"
        mkdir -p /etc/landline /home/test-server/.config/landline
        set_listen() { echo "listen = \"$1\"" > /etc/landline/server.toml; }
        install() { landline --json service install --run-as test-server "$@"; }
        set_listen 127.0.0.1:5300
        says '127.0.0.1:5300 (/etc/landline/server.toml line 1)' install
        listens 127.0.0.1 5300
        install --port 5300
        fails 2 settings install --port 5301
        set_listen 127.0.0.1
        install
        listens 127.0.0.1 5263
        : The machine may get this address later.
        set_listen 192.0.2.1:5300
        install
        listens 192.0.2.1 5300
        for text in 127.0.0.1:0 localhost:5300; do
            set_listen $text
            fails 2 settings install
        done
        listens 192.0.2.1 5300
        : The settings of the user that runs the service come first.
        set_listen 127.0.0.1:5300
        echo 'listen = "127.0.0.1:5302"' > /home/test-server/.config/landline/server.toml
        chown -R test-server /home/test-server/.config
        install
        listens 127.0.0.1 5302
        : A later change is reported and not served at another address.
        echo 'listen = "127.0.0.1:5303"' > /home/test-server/.config/landline/server.toml
        ends 1 '' systemctl restart landline.service
        ends 1 127.0.0.1:5302 landline service status
        install
        listens 127.0.0.1 5303
        chown test-other /home/test-server/.config/landline/server.toml
        fails 2 settings install
        fails 2 settings env LANDLINE_LISTEN=127.0.0.1:5304 landline --json service install --run-as test-server
        "#,
    );
}

#[test]
fn install_uses_named_state_folder() {
    run_in_sandbox(
        r#"
        sudo() { [ "$1 $3" = '-u -H' ] && as "$2" "${@:4}"; }
        install() { landline service install --run-as test-server "$@" | tee /tmp/said; }
        follow_advice() { # Runs the commands that the install prints.
            as test-client landline join - --as me --replace < "$(sed -n 's/^invite for the owner.*, in //p' /tmp/said)"
            says me eval "$(sed -n 's/^to list the users: //p' /tmp/said)"
        }
        install
        follow_advice
        mkdir -m 700 /srv/line
        chown test-server /srv/line
        install --state /srv/line
        follow_advice
        [ -e /srv/line/server/accounts.db ]
        : The variable works too. A folder that is deleted at boot is refused.
        LANDLINE_STATE=/srv/line install
        grep -q 'state "/srv/line" serve' /etc/systemd/system/landline.service
        fails 2 settings landline --json service install --run-as test-server --state /tmp/line
        fails 1 service-failed landline --json service install --run-as test-server --state /srv/none
        says me as test-server landline --state /srv/line user list
        as test-client landline ping 127.0.0.1
        "#,
    );
}

#[test]
fn failed_install_is_refused_or_rolled_back() {
    run_in_sandbox(
        r#"
        install() { landline --json service install --run-as "$@"; }
        for name in '' -x . .. 1001 1x 'a b'; do fails 2 usage landline --json service install "--run-as=$name"; done
        fails 2 unknown-user install ghost
        fails 2 settings install root
        useradd --home-dir /nowhere homeless
        fails 2 settings install homeless
        cp /usr/local/bin/landline /tmp/landline
        fails 2 settings /tmp/landline --json service install --run-as test-server
        [ ! -e /etc/systemd/system/landline.service ]
        : These failures appear only at the start. The journal has details.
        chmod 700 /root
        cp /usr/local/bin/landline /root/landline
        fails 1 service-failed /root/landline --json service install --run-as test-server
        ends 1 'Permission denied' /root/landline service install --run-as test-server
        nothing_is_left
        mkdir -p /etc/landline
        echo 'connections = 0' > /etc/landline/server.toml
        fails 2 settings install test-server
        rm /etc/landline/server.toml
        serve_beside
        fails 1 service-failed install test-server
        fails 1 service-failed install test-server --port 6000
        nothing_is_left
        end_beside
        : The earlier service runs again.
        install test-server --port 6000
        as test-client landline join - --as me < /home/test-server/$STATE/server/invite
        fails 1 service-failed /root/landline --json service install --run-as test-server --port 6001
        listens '*' 6000
        as test-client landline ping 127.0.0.1:6000
        systemctl is-enabled landline.socket landline.service
        "#,
    );
}

#[test]
fn service_starts_after_repeated_failures() {
    run_in_sandbox(
        r#"
        landline service install --run-as test-server
        as test-client landline join - --as me < /home/test-server/$STATE/server/invite
        mkdir -p /etc/landline
        echo 'connections = 0' > /etc/landline/server.toml
        for turn in {1..12}; do ends 1 '' systemctl restart landline.service; done
        ends 1 'server.toml line 1' landline service status
        rm /etc/landline/server.toml
        as test-client landline ping 127.0.0.1
        main_pid() { systemctl show --property=MainPID --value landline.service; }
        restarted_since() { local now; now=$(main_pid); [ "$now" != 0 ] && [ "$now" != "$1" ]; }
        for turn in {1..8}; do
            wait_for is ActiveState active systemctl
            before=$(main_pid)
            systemctl kill --kill-who=main --signal=KILL landline.service
            wait_for restarted_since "$before"
        done
        as test-client landline ping 127.0.0.1
        : Removing the service also resets its failed state.
        systemctl stop landline.socket
        serve_beside
        ends 1 '' systemctl start landline.socket
        landline service remove
        nothing_is_left
        end_beside
        "#,
    );
}

#[test]
fn systemd_waits_for_the_drain() {
    run_in_sandbox(
        r#"
        mkdir -p /etc/landline
        echo 'drain = 600' > /etc/landline/server.toml
        landline service install --run-as test-server
        as test-client landline join - --as me < /home/test-server/$STATE/server/invite
        mkdir /etc/systemd/system/landline.service.d
        printf '[Service]\nTimeoutStopSec=1\n' > /etc/systemd/system/landline.service.d/short.conf
        systemctl daemon-reload
        begin_copy slow
        systemctl stop --no-block landline.service
        wait_for is ActiveState deactivating systemctl
        : Longer than the timeout of systemd.
        sleep 4
        end_copy
        wait_for is ActiveState inactive systemctl
        is Result success systemctl
        [ "$(cat /home/test-server/slow)" = $'first\nsecond' ]
        "#,
    );
}

/// Commands have none of the restrictions of the server, and outlive it.
const COMMANDS: &str = r#"
as test-client landline join - --as me < /home/test-server/$STATE/server/invite
run() { as test-client landline run "$@"; }
: The server itself is confined.
main_pid() { control show --property=MainPID --value "$1"; }
grep -Eqx 'NoNewPrivs:.1' /proc/$(main_pid landline.service)/status
grep -Eqx 'Seccomp:.2' /proc/$(main_pid landline.service)/status
run 127.0.0.1 -- cat /proc/self/status > /tmp/status
grep -Eqx 'NoNewPrivs:.0' /tmp/status
grep -Eqx 'Seccomp:.0' /tmp/status
grep -Eqx 'SigIgn:.0000000000000000' /tmp/status
says landline-launcher.service run 127.0.0.1 -- cat /proc/self/cgroup
[ "$(run 127.0.0.1 -- sh -c umask)" = 0022 ]
for tried in 'sudo -n true' 'node -e 1' 'python3 -c "import ctypes"'; do
    if command -v "${tried%% *}" > /dev/null; then run --shell 127.0.0.1 "$tried"; fi
done
: A restart ends neither a job nor a command. It does not wait for them.
id=$(run --detach 127.0.0.1 -- sh -c 'sleep 4; echo out; exit 7')
run 127.0.0.1 -- sh -c 'echo ready; read line; echo $line; exit 9' < <(sleep 5; echo late) > /tmp/output & foreground=$!
wait_for grep -q ready /tmp/output
control restart landline.service
control kill --kill-who=main --signal=KILL landline.service
control restart landline-launcher.service
ends 7 '' as test-client landline wait 127.0.0.1 $id
[ "$(as test-client landline logs 127.0.0.1 $id)" = out ]
ended=0; wait $foreground || ended=$?
[ "$ended $(tail -n 1 /tmp/output)" = '9 late' ]
"#;

#[test]
fn commands_of_system_service_are_not_confined() {
    run_in_sandbox(&format!(
        "{WORDS}
        by=(env) flag=
        if [ -d /etc/sudoers.d ]; then echo 'test-server ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/test; fi
        landline service install --run-as test-server
        {COMMANDS}
        : The launcher changes with the user.
        landline service install --run-as test-other
        as test-client landline join - --as me --replace < /home/test-other/$STATE/server/invite
        says test-other run 127.0.0.1 -- id -un
        : What runs keeps its unit until it ends.
        id=$(run --detach 127.0.0.1 -- sh -c 'echo $$; exec sleep 1000')
        wait_for run 127.0.0.1 -- true
        service remove
        pid=$(pgrep -u test-other sleep)
        kill $pid
        is_forgotten() {{ [ -z \"$(systemctl list-units --all --plain --no-legend 'landline*')\" ]; }}
        wait_for is_forgotten
        nothing_is_left control"
    ));
}

#[test]
fn commands_of_user_service_are_not_confined() {
    run_in_sandbox(&format!(
        "{WORDS}
        by=(as test-server) flag=--user
        if [ -d /etc/sudoers.d ]; then echo 'test-server ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/test; fi
        loginctl enable-linger test-server
        wait_for as test-server systemctl --user show-environment
        as test-server landline service install --user
        {COMMANDS}"
    ));
}

#[test]
fn invite_has_address_added_after_start() {
    run_in_sandbox(
        r#"
        command -v ip > /dev/null || { echo 'an address takes ip(8) (iproute2)' >&2; exit 125; }
        landline service install --run-as test-server
        says '//127.0.0.1:5263/#' as test-server landline user add fred --invite
        ip address add 10.9.9.1/32 dev lo
        says '//10.9.9.1:5263/#' as test-server landline user invite fred
        "#,
    );
}

/// `test-client` reaches this machine by ssh, as `test-server` and as root.
const SSHD: &str = r#"
[ -x /usr/sbin/sshd ] || { echo 'there is no sshd (package openssh-server)' >&2; exit 125; }
ssh-keygen -A > /dev/null; mkdir -p /run/sshd; /usr/sbin/sshd -o UsePAM=yes -o StrictModes=no
as test-client sh -c 'cd; mkdir -m 700 .ssh; ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519
    echo "StrictHostKeyChecking accept-new" > .ssh/config'
for home in /home/test-server /root; do
    mkdir -p $home/.ssh; cp /home/test-client/.ssh/id_ed25519.pub $home/.ssh/authorized_keys
done
bootstrap() { as test-client landline --json bootstrap "$@"; }
own() { as test-server systemctl --user "$@"; }
"#;

/// A machine that only ssh can reach gets a user service. It still runs when its user has logged
/// out.
///
/// A second bootstrap changes nothing if the program is up to date, and replaces a different
/// program.
#[test]
fn bootstrap_installs_user_service() {
    run_in_sandbox(&format!(
        "{WORDS}{SSHD}
        units=/home/test-server/.config/systemd/user
        says '\"server\":\"service\"' bootstrap test-server@localhost --as me --port 5999
        grep -x ListenStream=5999 $units/landline.socket
        wait_for test ! -e /run/systemd/sessions/1
        as test-client sh -c 'cd; echo content > f; landline cp -q f localhost:f'
        [ \"$(cat /home/test-server/f)\" = content ]
        started=$(own show --value --property=ActiveEnterTimestampMonotonic landline.service)
        : The program may have been installed in the second in which the service started.
        touch -d \"$(own show --value --timestamp=utc --property=ExecMainStartTimestamp landline.service | sed 's/ UTC/.000001&/')\" \
            /home/test-server/.local/bin/landline
        says '\"copied\":false' bootstrap test-server@localhost --as me
        is ActiveEnterTimestampMonotonic $started own
        {{ cat /usr/local/bin/landline; echo another build; }} > /tmp/landline
        says '\"address\":\"localhost:5999\"' bootstrap test-server@localhost --as me --binary /tmp/landline
        ! is ActiveEnterTimestampMonotonic $started own
        cmp /tmp/landline /home/test-server/.local/bin/landline
        grep -x ListenStream=5999 $units/landline.socket
        as test-client landline ping localhost"
    ));
}

/// As root, for a user who cannot log in. If only the port of sshd is open, the client connects
/// through ssh.
#[test]
fn bootstrap_installs_system_service() {
    run_in_sandbox(&format!(
        "{WORDS}{SSHD}
        mkdir /etc/landline; echo 'listen = \"127.0.0.1:5263\"' > /etc/landline/server.toml
        fails 2 usage bootstrap root@localhost --as me
        nothing_is_left
        says '\"server\":\"service\"' bootstrap root@localhost --as me --run-as test-other
        grep -x ListenStream=127.0.0.1:5263 /etc/systemd/system/landline.socket
        [ \"$(stat -c %U /home/test-other/.local/state/landline)\" = test-other ]
        as test-client landline ping localhost
        says '\"via\":\"root@localhost\"' as test-client landline --json ping localhost --via-ssh root@localhost
        : Another user is another service. The pid file of that user ends no process of root.
        bash -c 'exec -a \"landline serve\" sleep 1000' & other=$!
        as test-server sh -c \"cd; mkdir -p .local/state; mkdir -m 700 $STATE; echo $other > $STATE/serve.pid\"
        says '\"server\":\"service\"' bootstrap root@localhost --as me --run-as test-server --replace
        kill $other
        grep -x User=test-server /etc/systemd/system/landline.service"
    ));
}
