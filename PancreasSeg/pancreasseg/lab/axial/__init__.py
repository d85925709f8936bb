"""Training of the 2.5D model that ships, on axial slices as they are: sparse, partly labelled, from several cohorts.

python -m pancreasseg.lab.axial prepare DATA WORK     arrays from the public data
python -m pancreasseg.lab.axial train WORK            trains, goes on where it stopped
python -m pancreasseg.lab.axial evaluate WORK         held-out patients, per case
python -m pancreasseg.lab.axial validate WORK         from one hospital to the other, and five folds
python -m pancreasseg.lab.axial export WORK PACKAGE   the model package
python -m pancreasseg.lab.axial model DATA WORK PACKAGE   all of it, and a report in WORK/report
"""
