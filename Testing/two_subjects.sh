#!/bin/bash
# A BIDS data set of two subjects from the example scans, in the folder that is named: bash Testing/two_subjects.sh bids
set -eu
examples="$(cd "$(dirname "$0")/.." && pwd)/Resources/Example"
mkdir -p "$1/sub-01/anat" "$1/sub-02/anat"
cp "$examples/FLAIR.nii.gz" "$1/sub-01/anat/sub-01_FLAIR.nii.gz"
cp "$examples/T1.nii.gz" "$1/sub-02/anat/sub-02_T1w.nii.gz"
echo '{"Name": "Two subjects", "BIDSVersion": "1.10.0"}' > "$1/dataset_description.json"
