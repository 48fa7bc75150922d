"""The NTIRE 2024 portrait challenge's submission: packed, run alone, checked against the limits.

The kit (DXOMARK-Research/PIQ2023, `NTIRE24/Submission Kit`) puts a script in `models/`, weights in `weights/` and a
package in `assets/`, and runs the script from the level above. How these lie inside the zip it does not say; here they
lie in the same three folders, so that unpacking the zip on that level puts everything in its place::

    submission_<LAST>_<FIRST>.zip
        models/model_<LAST>_<FIRST>.py               the script
        weights/weights_<LAST>_<FIRST>.ckpt          the network, its card, and LIQE where the model uses it
        assets/assets_<LAST>_<FIRST>/*.whl           the package piqa, from which the script imports
        assets/assets_<LAST>_<FIRST>/requirements.txt    the libraries, in the versions that the check ran with

The script reads `images.csv` and `images/`, and writes `results/result_<LAST>_<FIRST>.csv` and
`logs/log_<LAST>_<FIRST>.log`. MTCNN's weights come inside facenet-pytorch, one of the libraries.
"""
