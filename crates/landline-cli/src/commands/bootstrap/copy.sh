# Reads the program from standard input, verifies and tries it, and then installs it.
size=$1 digest=$2
umask 022
mkdir -p "$folder" || problem write "$folder cannot be made"
if [ -d "$program" ]; then
    problem write "$program is a folder"
fi
# Staging files of copies that a reboot interrupted.
find "$folder" -name '.landline-bootstrap-*.part' -mtime +0 -exec rm -f {} +
staging=$folder/.landline-bootstrap-$$.part
discard() {
    rm -f "$staging"
}
trap 'discard; exit 1' HUP INT TERM PIPE
trap discard EXIT
if ! cat >"$staging"; then
    problem write "$folder cannot be written to"
fi
found=$(wc -c <"$staging" | tr -d ' ')
if [ "$found" != "$size" ]; then
    problem damaged "$found of $size bytes arrived"
fi
found=$(digest "$staging")
if [ -n "$found" ] && [ "$found" != "$digest" ]; then
    problem damaged "its SHA-256 there is $found"
fi
chmod 755 "$staging"
version=$("$staging" --version 2>&1 </dev/null) || problem foreign "$version"
case $version in
    "landline "*) ;;
    *) problem foreign "it printed: $version" ;;
esac
mv -f "$staging" "$program" </dev/null || problem write "$program cannot be replaced"
tell version "$version"
tell end copy
