#!/bin/bash
# sandbox.sh COMMAND [ARGUMENT...]: starts a systemd of its own, runs COMMAND under it as root, takes all down again.
# Standard input, output and error are the command's, and so is the exit status; 125 where there is no sandbox to be had.
# In there is this machine's root file system, by an overlay in memory: what is written is gone afterwards. /tmp, /run, /dev and
# /etc/systemd begin empty, the network is loopback alone, and there are no processes but those of the new systemd.
# What is on another file system than / is not seen. When it ends, by whatever signal, so does everything in there; of SIGKILL an empty
# cgroup is left, which the next one takes away.
set -u
PATH=$PATH:/usr/sbin:/sbin
base=/sys/fs # A folder that is everywhere, and in which nothing is that we need, not even this script.
fail() { echo "systemd-sandbox: $*" >&2; exit 125; }
take_away() { find "$1" -depth -type d -exec rmdir {} \; ; } 2> /dev/null

case ${SANDBOX_STAGE:-check} in
check)
    [ $# -gt 0 ] || fail "which command is to be run?"
    [ "$(id -u)" = 0 ] || fail "this takes root"
    for tool in unshare nsenter setpriv runuser pivot_root useradd systemd-run dbus-daemon /lib/systemd/systemd; do
        command -v "$tool" > /dev/null || fail "there is no $tool (packages util-linux, passwd, systemd, dbus)"
    done
    unshare --mount --pid --net --cgroup --fork true || fail "namespaces cannot be made"
    [ -e /proc/$$/task/$$/children ] || fail "the kernel does not tell a process's children"
    SANDBOX_STAGE=supervise exec unshare --mount "$BASH" "$0" "$@"
    ;;
supervise) # In a mount namespace of our own: what is mounted ends with us.
    mount -t tmpfs sandbox $base && mkdir "$base"/{cgroup,root,upper,work} && mount -t cgroup2 sandbox $base/cgroup ||
        fail "cgroup2 cannot be mounted"
    own=$base/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup) && branch=${own%/}/systemd-sandbox-$$
    for other in "${own%/}"/systemd-sandbox-*; do # Of one that was killed.
        [ ! -e "$other" ] || [ -e "/proc/${other##*-}" ] || take_away "$other"
    done
    mkdir "$branch" || fail "no cgroup can be made"
    (
        echo "$BASHPID" > "$branch/cgroup.procs" # The root of the cgroups in there.
        SANDBOX_STAGE=start exec setpriv --pdeathsig KILL \
            unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child "$BASH" "$0"
    ) < /dev/null > $base/log 2>&1 &
    starter=$!
    finish() { # PID 1 has ended once all others have.
        kill -KILL ${systemd:-$starter} 2> /dev/null
        wait 2> /dev/null
        for _ in {1..100}; do take_away "$branch"; [ -e "$branch" ] || return; sleep 0.1; done
        echo "systemd-sandbox: $branch is left" >&2
        exit 124
    }
    trap finish EXIT
    trap 'exit 130' INT TERM HUP
    within() { exec nsenter --all --target "$systemd" "$@"; }
    for _ in {1..900}; do
        sleep 0.1
        systemd=$(xargs < /proc/$starter/task/$starter/children 2> /dev/null)
        [ "$(cat "/proc/$systemd/comm" 2> /dev/null)" = systemd ] || continue
        (within systemctl is-system-running 2> /dev/null) | grep -qE 'running|degraded' && started=yes && break
        kill -0 $starter 2> /dev/null || break
    done
    [ "${started:-}" ] || { cat $base/log >&2; fail "systemd does not start"; }
    echo $starter > "$own/cgroup.procs" # It wants none in there that it does not see.
    # Of ${...} it would make values of its own.
    within systemd-run --quiet --pipe --wait --collect --setenv=HOME=/root -- "${@//\$/\$\$}" <&0 &
    wait $! # Signals are heard meanwhile.
    ;;
start) # As PID 1.
    mount -t overlay -o lowerdir=/,upperdir=$base/upper,workdir=$base/work sandbox $base/root && cd $base/root || fail "no overlay"
    mkdir -p etc/systemd var/lib/systemd
    for folder in dev run tmp etc/systemd var/lib/systemd; do mount -t tmpfs -o mode=755 sandbox $folder; done
    mkdir etc/systemd/{system,user,system-generators}
    for generator in {usr/,}lib/systemd/system-generators/*; do # None is to find this machine's disks and services.
        ln -sf /dev/null "etc/systemd/system-generators/${generator##*/}"
    done
    chmod 1777 tmp && mkdir dev/pts && cp -a /dev/{null,zero,full,random,urandom,tty} dev
    mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 sandbox dev/pts && ln -s pts/ptmx dev/ptmx
    mount -t proc sandbox proc && mount --bind -o ro proc/sys proc/sys && mount -t sysfs -o ro sandbox sys &&
        mount -t cgroup2 sandbox sys/fs/cgroup && mkdir run/old && pivot_root . run/old && umount -l /run/old &&
        rmdir /run/old || fail "what a system needs cannot be mounted"
    exec env -i container=sandbox PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-audit_control,-audit_read,-audit_write \
        /lib/systemd/systemd --unit=multi-user.target
    ;;
esac
