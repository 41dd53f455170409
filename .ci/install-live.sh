#!/usr/bin/env bash
# The real servers and devices of tests/live, on Debian: .ci/install-live.sh
# STREAMSR_LIVE_NODE: folder for the npm packages; without it they are left out, and so are the tests that need them.
# Quick when everything is there. What cannot be had is named, and the rest goes on: the tests skip what they miss.
set -uo pipefail

missing=()

debian=(
    ffmpeg
    gir1.2-gst-rtsp-server-1.0 gir1.2-gstreamer-1.0 python3-gi gstreamer1.0-tools gstreamer1.0-plugins-base
    gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-rtsp
    srt-tools openssl
    pipewire pipewire-bin pipewire-v4l2 wireplumber gstreamer1.0-pipewire dbus
    xvfb xauth xdotool imagemagick x11-apps
    chromium fonts-dejavu-core
    nodejs npm
)
npm=(node-media-server playwright-core)

has() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

# Some machines have Node from elsewhere, which Debian's package of the same name would fight with.
provided() {
    case $1 in
        nodejs) command -v node >/dev/null ;;
        npm) command -v npm >/dev/null ;;
        *) has "$1" ;;
    esac
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" \
        >/dev/null 2>&1
}

wanted=()
for name in "${debian[@]}"; do
    provided "$name" || wanted+=("$name")
done
if [ ${#wanted[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        # One at a time where all together fail: one package that is gone must not cost the others.
        apt_install "${wanted[@]}" || {
            apt-get -o DPkg::Lock::Timeout=300 update -qq >/dev/null 2>&1
            apt_install "${wanted[@]}" || for name in "${wanted[@]}"; do apt_install "$name"; done
        }
        for name in "${wanted[@]}"; do
            provided "$name" || missing+=("$name")
        done
    else
        missing+=("${wanted[@]}")
    fi
fi

if [ -n "${STREAMSR_LIVE_NODE:-}" ]; then
    for name in "${npm[@]}"; do
        [ -d "$STREAMSR_LIVE_NODE/node_modules/$name" ] && continue
        # Scripts of packages are not run: what the tests need works without them.
        if ! { command -v npm >/dev/null && mkdir -p "$STREAMSR_LIVE_NODE" &&
            timeout 300 npm install --prefix "$STREAMSR_LIVE_NODE" --ignore-scripts --no-audit --no-fund --silent "$name" \
                >/dev/null 2>&1; }; then
            missing+=("npm:$name")
        fi
    done
else
    missing+=("npm packages, as STREAMSR_LIVE_NODE is not set")
fi

# The first program to use GStreamer looks through all its plugins, which takes longer than a test may wait.
if command -v gst-inspect-1.0 >/dev/null; then
    timeout 120 gst-inspect-1.0 videotestsrc >/dev/null 2>&1
fi

for name in "${missing[@]+"${missing[@]}"}"; do
    echo "install-live: not there: $name" >&2
done
exit 0
