"""What do the judgements of people say: which pair is shown next, and which score each image gets?"""
