import { Grid, Paper, Select, SimpleGrid, Stack, TextInput, Title } from '@mantine/core'
import { IconCube, IconUsers } from '@tabler/icons-react'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { type FormEvent, useEffect, useMemo, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useMutation, useQuery } from 'urql'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { randomId } from '../../shared/ids'
import { setScope, useScope } from '../../shared/scope'
import { useScopeChoices } from '../../shared/scopeChoices'
import { useSessionNews } from '../../shared/sessionStream'
import { usePageTitle } from '../../shared/usePageTitle'
import { Advanced } from './Advanced'
import { Amounts } from './Amounts'
import { CHOICES, CREATE, EARLIER } from './documents'
import { type Form, GIB, like, remember, remembered, request } from './form'
import { Summary } from './Summary'
import { judge, raise } from './verdict'

export default function LauncherRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const { from } = useSearch({ strict: false }) as { from?: string }
  const { groupId, resourceGroupId } = useScope()
  const { groups, resourceGroups, none } = useScopeChoices()
  const [{ data, error }, reload] = useQuery({
    query: CHOICES,
    variables: { groupId: groupId ?? '', resourceGroupId: resourceGroupId ?? '' },
    pause: !groupId || !resourceGroupId,
    requestPolicy: 'cache-and-network',
  })
  const [{ data: earlier }] = useQuery({ query: EARLIER, variables: { id: from ?? '' }, pause: !from })
  // What is free changes with every session that starts or ends.
  useSessionNews(() => groupId && resourceGroupId && reload({ requestPolicy: 'network-only' }))
  usePageTitle(t('launcher.title'))
  const [made, create] = useMutation(CREATE)
  const [form, setForm] = useState<Form>(remembered)
  const change = (part: Partial<Form>) => setForm((before) => ({ ...before, ...part }))
  useEffect(() => {
    const again = like(earlier?.node ?? null)
    if (again) setForm((before) => ({ ...before, ...again }))
  }, [earlier])

  const images = data?.images.nodes
  const languages = useMemo(
    () => [...new Set((images ?? []).map((image) => image.language))].sort(),
    [images],
  )
  const language = languages.includes(form.language) ? form.language : (languages[0] ?? '')
  const versions = (images ?? []).filter((image) => image.language === language)
  const image = versions.find((one) => one.id === form.imageId) ?? versions[0]
  const chosen: Record<string, number> = { cpu: form.cpu, mem: form.memory * GIB }
  const wanted = raise(chosen, image?.minimumSlots ?? [])
  const verdict = data && judge(wanted, data.availability)
  const largest = (name: string) =>
    Number(data?.availability.slots.find((slot) => slot.name === name)?.largestCapacity ?? 0)
  const submission = useSubmission()

  async function submit(event: FormEvent) {
    event.preventDefault()
    if (!image || !groupId || !resourceGroupId) return
    remember({ ...form, language }, image.id)
    const input = request(form, { groupId, resourceGroupId, imageId: image.id })
    const { data: done } = await create({ input: { ...input, idempotencyKey: submission(input) } })
    if (done) await navigate({ to: '/sessions/$id', params: { id: done.createSession.session.id } as never })
  }

  if (error && !data) return <Failure error={error} retry={() => reload({ requestPolicy: 'network-only' })} />
  if (none || images?.length === 0) {
    const what = none ? 'app.noScope' : 'launcher.noImages'
    return (
      <Paper className="card" radius="md">
        <Empty icon={none ? IconUsers : IconCube} title={t(what)} hint={t(`${what}Hint`)} />
      </Paper>
    )
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
              {made.error && <Failure error={made.error} />}
              <SimpleGrid cols={{ base: 1, xs: 2 }}>
                <Select
                  label={t('launcher.environment')}
                  data={languages}
                  value={language || null}
                  onChange={(chosen) => change({ language: chosen ?? '', imageId: '' })}
                  allowDeselect={false}
                />
                <Select
                  label={t('launcher.version')}
                  data={versions.map((one) => ({
                    value: one.id,
                    label: `${one.version} · ${one.installed ? t('launcher.installed') : t('launcher.pull')}`,
                  }))}
                  value={image?.id ?? null}
                  onChange={(imageId) => change({ imageId: imageId ?? '' })}
                  allowDeselect={false}
                />
                <Select
                  label={t('app.project')}
                  data={groups.map((group) => ({ value: group.id, label: group.name }))}
                  value={groupId}
                  onChange={(id) => setScope({ groupId: id })}
                  allowDeselect={false}
                />
                <Select
                  label={t('app.resourceGroup')}
                  data={resourceGroups.map((group) => ({ value: group.id, label: group.name }))}
                  value={resourceGroupId}
                  onChange={(id) => setScope({ resourceGroupId: id })}
                  allowDeselect={false}
                />
              </SimpleGrid>
              <TextInput
                label={t('launcher.name')}
                description={t('launcher.nameHint')}
                value={form.name}
                onChange={(event) => change({ name: event.currentTarget.value })}
                maxLength={64}
              />
              <Amounts
                form={form}
                onChange={change}
                most={{ cpu: largest('cpu'), memory: Math.floor(largest('mem') / GIB) }}
              />
              <Advanced form={form} onChange={change} />
            </Stack>
          </Paper>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 4 }}>
          <Summary
            title={image ? `${image.language} ${image.version}` : '–'}
            wanted={wanted}
            raised={Object.keys(wanted).filter((name) => (wanted[name] ?? 0) > (chosen[name] ?? 0))}
            verdict={verdict}
            availability={data?.availability}
            busy={made.fetching}
            ready={image !== undefined && verdict !== 'overLimit' && form.cpu > 0 && form.memory > 0}
          />
        </Grid.Col>
      </Grid>
    </form>
  )
}

/** One key for all tries of the same request: when an answer was lost, trying again starts no second session. */
function useSubmission() {
  const last = useRef({ content: '', key: '' })
  return (input: object): string => {
    const content = JSON.stringify(input)
    if (content !== last.current.content) last.current = { content, key: randomId() }
    return last.current.key
  }
}
