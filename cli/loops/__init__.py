"""`barograph loops`: whether a model's outputs change its later inputs."""
