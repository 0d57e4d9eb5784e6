import { Grid, Paper, SimpleGrid, Stack, TextInput, Title } from '@mantine/core'
import { IconCube, IconUsers } from '@tabler/icons-react'
import { useSearch } from '@tanstack/react-router'
import type { FormEvent } from 'react'
import { useTranslation } from 'react-i18next'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { useScopeChoices } from '../../shared/scopeChoices'
import { usePageTitle } from '../../shared/usePageTitle'
import { Advanced } from './Advanced'
import { Amounts } from './Amounts'
import { EnvironmentFields } from './EnvironmentFields'
import { type Form, GIB, nameable } from './form'
import { ScopeFields } from './ScopeFields'
import { Summary } from './Summary'
import { select } from './selection'
import { useChoices } from './useChoices'
import { useLaunch } from './useLaunch'
import { useLauncherForm } from './useLauncherForm'
import { type Availability, judge, raise } from './verdict'

/** Everything that a session needs on one page; beside it, whether that would start now. */
export default function LauncherRoute() {
  const { t } = useTranslation()
  const { from } = useSearch({ strict: false }) as { from?: string }
  const { none } = useScopeChoices()
  const { images, availability, error, reload } = useChoices()
  const { form, change } = useLauncherForm(from)
  const { launch, busy, error: refused } = useLaunch()
  usePageTitle(t('launcher.title'))

  if (error && !images) return <Failure error={error} retry={reload} />
  if (none || images?.length === 0) {
    const what = none ? 'app.noScope' : 'launcher.noImages'
    return (
      <Paper className="card" radius="md">
        <Empty icon={none ? IconUsers : IconCube} title={t(what)} hint={t(`${what}Hint`)} />
      </Paper>
    )
  }
  const selection = select(images ?? [], form)
  const { image } = selection
  const chosen: Record<string, number> = { cpu: form.cpu, mem: form.memory * GIB }
  const wanted = raise(chosen, image?.minimumSlots ?? [])
  const raised = Object.keys(wanted).filter((name) => (wanted[name] ?? 0) > (chosen[name] ?? 0))
  // All containers need room on one node, or each for itself.
  const together = form.severalNodes ? 1 : form.containers
  const verdict = availability && judge(times(wanted, together), availability)

  function submit(event: FormEvent) {
    event.preventDefault()
    void launch(form, image)
  }

  return (
    <form onSubmit={submit}>
      <Title order={1} size="h2" mb="md">
        {t('launcher.title')}
      </Title>
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, md: 8 }}>
          <Paper className="card" radius="md" p="lg">
            <Stack gap="lg">
              {refused && <Failure error={refused} />}
              <SimpleGrid cols={{ base: 1, xs: 2 }}>
                <EnvironmentFields selection={selection} onChange={change} />
                <ScopeFields />
              </SimpleGrid>
              <NameField form={form} onChange={change} />
              <Amounts form={form} onChange={change} most={largestNode(availability)} />
              <Advanced form={form} onChange={change} />
            </Stack>
          </Paper>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 4 }}>
          <Summary
            title={image ? `${image.language} ${image.version}` : '–'}
            wanted={times(wanted, form.containers)}
            raised={raised}
            verdict={verdict}
            availability={availability}
            busy={busy}
            ready={
              image !== undefined &&
              nameable(form.name) &&
              verdict !== 'overLimit' &&
              form.cpu > 0 &&
              form.memory > 0
            }
          />
        </Grid.Col>
      </Grid>
    </form>
  )
}

function NameField({ form, onChange }: { form: Form; onChange: (change: Partial<Form>) => void }) {
  const { t } = useTranslation()
  return (
    <TextInput
      label={t('launcher.name')}
      description={t('launcher.nameHint')}
      value={form.name}
      error={nameable(form.name) ? undefined : t('launcher.nameWrong')}
      onChange={(event) => onChange({ name: event.currentTarget.value })}
      maxLength={64}
    />
  )
}

function times(amounts: Record<string, number>, count: number) {
  return Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, amount * count]))
}

/** CPU cores and GiB of the largest node. */
function largestNode(availability: Availability | undefined) {
  const most = (name: string) =>
    Number(availability?.slots.find((slot) => slot.name === name)?.largestCapacity ?? 0)
  return { cpu: most('cpu'), memory: Math.floor(most('mem') / GIB) }
}
