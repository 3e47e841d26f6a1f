from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("loans", "0006_api")]

    operations = [
        migrations.AlterModelOptions(
            name="case",
            options={"ordering": ["-id"], "permissions": [("close_case", "Can close a case")]},
        ),
        migrations.AddField(
            model_name="case",
            name="note",
            field=models.CharField(blank=True, db_default="", help_text="What became of it.", max_length=1000),
        ),
    ]
