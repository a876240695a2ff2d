#!/usr/bin/env bash
# Make sure that the libraries for drawing without a screen are there; the tests of scene/ and the pictures need them,
# and dciodvfy (dicom3tools), with which the tests check DICOM objects.
# Installs with apt-get what is missing, or says what to install. Never fails: tests that lack a library say so.
set -uo pipefail

declare -A PACKAGE_OF=(
  [libEGL.so.1]=libegl1
  [libEGL_mesa.so.0]=libegl-mesa0
  [libGL.so.1]=libgl1
  [libX11.so.6]=libx11-6
  [libxkbcommon.so.0]=libxkbcommon0
  [libdbus-1.so.3]=libdbus-1-3
  [libglib-2.0.so.0]=libglib2.0-0
  [libfontconfig.so.1]=libfontconfig1
)

[ "$(uname -s)" = Linux ] || exit 0

known="$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null)"
missing=()
for library in "${!PACKAGE_OF[@]}"; do
  grep -qF "$library " <<<"$known" || missing+=("${PACKAGE_OF[$library]}")
done
compgen -G "/usr/lib*/*/dri/*swrast*" >/dev/null || compgen -G "/usr/lib*/*/libgallium*" >/dev/null \
  || compgen -G "/usr/lib*/dri/*swrast*" >/dev/null || missing+=(libgl1-mesa-dri)
compgen -G "/usr/share/fonts/*/*/DejaVuSans.ttf" >/dev/null || compgen -G "/usr/share/fonts/dejavu*/DejaVuSans.ttf" \
  >/dev/null || missing+=(fonts-dejavu-core)
command -v dciodvfy >/dev/null || missing+=(dicom3tools)
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
[ ${#missing[@]} -eq 0 ] && exit 0

by_hand() {
  echo "Please install these system packages by hand ($1): ${missing[*]}"
  echo "Without them the tests that draw pictures, open pages or verify DICOM cannot run."
  exit 0
}

command -v apt-get >/dev/null || by_hand "there is no apt-get here; the names are Debian's"
administrator=()
if [ "$(id -u)" -ne 0 ]; then
  sudo -n true 2>/dev/null || by_hand "this needs an administrator"
  administrator=(sudo -n)
fi
echo "Installing system packages: ${missing[*]}"
install=("${administrator[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends)
"${install[@]}" "${missing[@]}" >/dev/null 2>&1 && exit 0
"${administrator[@]}" apt-get update >/dev/null 2>&1
"${install[@]}" "${missing[@]}" >/dev/null || by_hand "apt-get could not"
