# Sourced by the scripts beside it, which may say in `script` where they are. Sets `checkout`, the folder that holds them,
# and brings `environment`, which makes a private Python environment there. It needs a Python from 3.11 on with venv and
# ensurepip, and nothing else.

checkout=$(CDPATH='' cd -- "$(dirname -- "${script:-$0}")/.." && pwd -P)

# Prints the path of the Python of the environment for this purpose, which has the package with this extra.
environment() { # purpose extra
    python=$(find_python) || return 1
    "$python" -I "$checkout/bin/environment.py" "$1" "$2"
}

# Prints the path of the first Python that will do. A name on the PATH may be a shim without a Python behind it, so
# every one is asked and not just looked at.
find_python() {
    bare=''
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        for folder in $(printf '%s' "$PATH" | tr ':' ' '); do
            [ -x "$folder/$name" ] || continue
            answer=$("$folder/$name" -I -c '
import sys
if sys.version_info >= (3, 11):
    try:
        import ensurepip, venv
        print("ready " + sys.executable)
    except ImportError:
        print("bare %d.%d" % sys.version_info[:2])
' 2>/dev/null) || continue
            case $answer in
            'ready '*) printf '%s\n' "${answer#ready }" && return ;;
            'bare '*) bare=${bare:-${answer#bare }} ;;
            esac
        done
    done
    if [ -n "$bare" ]; then
        echo "Python $bare cannot make an environment: install its venv (Debian: apt-get install python$bare-venv)" >&2
    else
        echo "No Python from 3.11 on is on the PATH: install one (Debian: apt-get install python3 python3-venv)" >&2
    fi
    return 1
}
