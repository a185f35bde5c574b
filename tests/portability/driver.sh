#!/usr/bin/env bash
# Runs a command on another driver of this machine: tests/portability/driver.sh NAME COMMAND...
#
#   lavapipe        Mesa's software Vulkan as it is installed
#   lavapipe4       the same with subgroups of 4
#   lavapipe16      the same with subgroups of 16
#   lavapipe-none   the same with kernels that use no subgroups
#   lavapipe-small  the same with small blocks, as for weak compilers
#   lavapipe-tiled  the same with the kernels of real GPUs
#   lavapipe-webgpu the same at WebGPU's default limits, without optional features
#   mesa25          lavapipe of Debian's bookworm-backports, which is fetched once and not installed
#   swiftshader     the software Vulkan that Debian's package chromium brings
#   gl              Mesa's llvmpipe through OpenGL (wgrad's feature gles; packages libegl1, libgles2)
#   null            Mesa's RADV for an AMD GPU that is not there: computes nothing, and has to be refused
#
# PORTABILITY_CACHE is where fetched drivers and pipeline caches are kept (by default in the user's cache folder).
set -euo pipefail
cache=${PORTABILITY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wgrad-portability}
mkdir -p "$cache"
name=${1:?the name of a driver, then a command}
shift

# The Vulkan loader is shown this library alone.
only() {
    local file=$cache/$name.json
    printf '{"file_format_version":"1.0.0","ICD":{"library_path":"%s","api_version":"%s"}}' "$1" "$2" >"$file"
    export VK_DRIVER_FILES=$file VK_ICD_FILENAMES=$file
}
installed() {
    [ -f "/usr/share/vulkan/icd.d/$1" ] || { echo "driver.sh: no $1: apt-get install mesa-vulkan-drivers" >&2; exit 1; }
    export VK_DRIVER_FILES=/usr/share/vulkan/icd.d/$1 VK_ICD_FILENAMES=/usr/share/vulkan/icd.d/$1
}
lavapipe=lvp_icd.x86_64.json

# Mesa of bookworm-backports with what it needs, unpacked into the cache.
mesa25() {
    local root=$cache/mesa25 apt=$cache/apt
    if [ ! -e "$root/done" ]; then
        mkdir -p "$root" "$apt/lists/partial" "$apt/archives/partial" "$apt/parts"
        printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-backports\nComponents: main\nSigned-By: %s\n' \
            /usr/share/keyrings/debian-archive-keyring.gpg >"$apt/parts/debian.sources"
        local options=(-qq -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$apt/parts"
            -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt" -o "APT::Sandbox::User=")
        apt-get "${options[@]}" update
        (cd "$apt" && apt-get "${options[@]}" download -t bookworm-backports \
            mesa-vulkan-drivers mesa-libgallium libllvm19 libdrm2 libdrm-amdgpu1)
        for deb in "$apt"/*.deb; do dpkg -x "$deb" "$root"; done
        touch "$root/done"
    fi
    local libraries=$root/usr/lib/x86_64-linux-gnu
    only "$libraries/libvulkan_lvp.so" 1.4.305
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

case $name in
lavapipe) installed "$lavapipe" ;;
lavapipe4) installed "$lavapipe"; export LP_NATIVE_VECTOR_WIDTH=128 ;;
lavapipe16) installed "$lavapipe"; export LP_NATIVE_VECTOR_WIDTH=512 ;;
lavapipe-none) installed "$lavapipe"; export WGRAD_KERNELS=register ;;
lavapipe-small) installed "$lavapipe"; export WGRAD_KERNELS=small ;;
lavapipe-tiled) installed "$lavapipe"; export WGRAD_KERNELS=tiled ;;
lavapipe-webgpu) installed "$lavapipe"; export WGRAD_LIMITS=webgpu ;;
mesa25) mesa25 ;;
swiftshader)
    library=/usr/lib/chromium/libvk_swiftshader.so
    [ -f "$library" ] || { echo "driver.sh: no $library: apt-get install chromium" >&2; exit 1; }
    only "$library" 1.3.0
    # Its compiler takes memory without a bound for what it can't cope with: an error rather than a machine that swaps.
    ulimit -v 12000000
    ;;
gl)
    installed "$lavapipe"
    export WGRAD_ADAPTER=gl LIBGL_ALWAYS_SOFTWARE=1
    ;;
null) installed radeon_icd.x86_64.json; export RADV_FORCE_FAMILY=${RADV_FORCE_FAMILY:-navi21} ;;
*) echo "driver.sh: no driver is called $name; see the head of this file" >&2; exit 2 ;;
esac
# No layer that looks for a window system, and pipelines of this driver alone.
export NODEVICE_SELECT=1 XDG_CACHE_HOME=$cache/pipelines-$name
exec "$@"
