"""Maps: training and test examples as points in a plane, near each other where the model treats them alike.

`vectors` says what an example is to the model (its representation, or its gradient), `sample` which examples the plane
is chosen by, `projection` and `umap_process` how vectors become points, `example_map` what is stored of it, and `build`
puts it together.
"""
